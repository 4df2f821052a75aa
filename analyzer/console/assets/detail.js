// The dialog with everything about one alert, or one flow.
import { $, h, bar, table } from './dom.js';
import * as f from './format.js';
import { ask, go } from './app.js';
import { pill, completenessBar, flowTable } from './view.js';
import { handling, caseTimeline } from './incident.js';
import { addExclusion } from './manage.js';
import { me } from './me.js';

let current = '';

export const leaveAlert = () => { current = ''; };

export function closeDetail() {
  current = '';
  if ($('detail').open) $('detail').close();
}

export function open(...children) {
  const box = $('detail');
  box.replaceChildren(...children);
  if (!box.open) box.showModal();
  box.scrollTop = 0;
}

export const head = (...children) => h('header', {}, h('div', {}, children), h('button', { type: 'button', class: 'close', 'aria-label': 'Close', onclick: () => $('detail').close() }, '×'));
export const section = (title, ...children) => h('section', {}, h('h3', {}, title), children);
const pairs = (entries) => h('dl', {}, entries.filter(([, v]) => v !== '' && v !== null && v !== undefined).map(([k, v]) => [h('dt', {}, k), h('dd', {}, v)]));
const value = (v) => (Array.isArray(v) && v.every((e) => typeof e !== 'object') ? v.join(', ') : v !== null && typeof v === 'object' ? JSON.stringify(v, null, 1) : String(v));

const isAddress = (text) => /^[0-9a-f.:]+$/i.test(text) && /[.:]/.test(text);

export async function openAlert(id, navigate) {
  if (current === id) return;
  current = id;
  let answer;
  try {
    answer = await ask(`alerts/${encodeURIComponent(id)}`);
  } catch (e) {
    if (current === id) open(head(h('h2', { id: 'detail-title' }, 'Alert')), h('p', { class: 'problem' }, e.message));
    return;
  }
  if (current !== id) return;
  const a = answer.alert;
  const steps = Array.isArray(a.baseline?.timeline) ? a.baseline.timeline : null;
  const rows = h('div', { class: 'scroll evidence', tabindex: 0, role: 'region', 'aria-label': 'Rows of the evidence', 'aria-live': 'polite' });
  const samples = h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Sample flows' }, h('p', { class: 'hint' }, 'Loading …'));
  const leave = (change) => { current = ''; navigate({ ...change, alert: '' }); };
  const range = { from: answer.range.from, to: answer.range.to };
  open(
    head(h('p', { class: 'kicker' }, pill(a.severity), ` ${a.detector} ${a.version} · `, a.techniques.map((t) => h('a', { href: `https://attack.mitre.org/techniques/${encodeURIComponent(t).replace('.', '/')}/`, rel: 'noreferrer noopener', target: '_blank' }, t)).flatMap((x) => [x, ' '])),
      h('h2', { id: 'detail-title' }, a.title)),
    a.provisional || a.missing.length ? h('p', { class: 'problem' }, a.provisional ? 'Provisional: the window was still open when it was judged. ' : '', a.missing.length ? `Probes that had not passed the window: ${a.missing.join(', ')}.` : '') : '',
    pairs([['actor', a.actor || 'many'], ['victim', a.victim || 'many'], ['traffic', `${f.moment(a.start)} – ${f.moment(a.end)} UTC`], ['window', `${f.moment(a.window_start)} – ${f.moment(a.window_end)}`],
      ['magnitude', a.magnitude === null ? '' : f.whole(a.magnitude)], ['confidence', a.confidence === null ? '' : f.percent(a.confidence)], ['raised', `${f.moment(a.raised)}, revision ${a.revision}`]]),
    h('p', { class: 'actions' }, h('button', { type: 'button', onclick: () => leave({ ...range, last: '' }) }, 'Show this time'),
      a.actor ? h('button', { type: 'button', onclick: () => leave({ ...range, last: '', host: a.actor }) }, 'Only the actor') : null,
      a.victim ? h('button', { type: 'button', onclick: () => leave({ ...range, last: '', host: a.victim }) }, 'Only the victim') : null,
      isAddress(a.actor) ? h('button', { type: 'button', onclick: () => leave({ about: a.actor }) }, 'About the actor') : null,
      isAddress(a.victim) ? h('button', { type: 'button', onclick: () => leave({ about: a.victim }) }, 'About the victim') : null,
      h('a', { href: `/api/v1/alerts/${encodeURIComponent(a.id)}/report.html`, download: 'incident.html' }, 'Report'), h('a', { href: `/api/v1/alerts/${encodeURIComponent(a.id)}/report.json`, download: 'incident.json' }, 'JSON'),
      me.may ? h('button', { type: 'button', onclick: () => { leave({}); addExclusion({ detectors: a.detector, networks: isAddress(a.actor) ? a.actor : '' }, () => navigate({})); } }, 'Exclude …') : null),
    handling(a),
    steps ? section('Timeline of the case', h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Timeline of the case' }, caseTimeline(steps, (id) => navigate({ alert: id })))) : '',
    section('Why', h('ul', {}, a.reasons.map((r) => h('li', {}, r)))),
    a.unless.length ? section('What would have kept it away', h('ul', {}, a.unless.map((r) => h('li', {}, r)))) : '',
    section('Score', h('ul', { class: 'scores' }, [['score', a.score], ...Object.entries(a.sub_scores).sort()].map(([k, v]) => h('li', {}, h('span', {}, k), h('em', {}, v === null ? '–' : v.toFixed(3)), bar([{ share: v ?? 0, class: k === 'score' ? 'c0' : 'c1' }], `${k} ${v}`))))),
    a.baseline !== null && !steps ? section('Compared with', a.baseline && typeof a.baseline === 'object' && !Array.isArray(a.baseline) ? pairs(Object.entries(a.baseline).map(([k, v]) => [k, value(v)])) : h('pre', {}, value(a.baseline))) : '',
    section('Evidence', h('pre', { class: 'sql', tabindex: 0 }, a.evidence_sql), Object.keys(a.evidence_params).length ? pairs(Object.entries(a.evidence_params).sort()) : '',
      h('p', { class: 'actions' }, h('button', { type: 'button', class: 'primary', disabled: a.evidence_sql === '', onclick: (e) => run(e.target, a.id, rows) }, 'Run')), rows),
    section('Completeness of this time', completenessBar(answer.completeness), a.completeness === null ? '' : h('p', { class: 'hint' }, `When it was judged, ${f.percent(a.completeness)} of the packets of its window were in flows.`)),
    section('Concerned', h('p', { class: 'mono wrap' }, a.entities.join('  '))),
    section('Sample flows', samples));
  try {
    const question = a.flows.length ? { flow: a.flows.slice(0, 20).join(',') } : { host: a.actor || a.victim };
    const l = await ask('flows', { ...range, ...question, limit: 20 });
    samples.replaceChildren(l.flows.length ? flowTable(l.flows, (change) => leave({ ...range, last: '', ...change })) : h('p', { class: 'hint' }, 'None is stored any more.'));
  } catch (e) {
    samples.replaceChildren(h('p', { class: 'hint' }, e.message));
  }
}

async function run(button, id, box) {
  button.disabled = true;
  box.replaceChildren(h('p', { class: 'hint' }, 'Running …'));
  try {
    const e = await ask(`alerts/${encodeURIComponent(id)}/evidence`);
    box.replaceChildren(h('p', { class: 'hint' }, `${f.whole(e.rows.length)}${e.more ? ' (and more)' : ''} ${e.rows.length === 1 ? 'row' : 'rows'} in ${f.whole(e.took_ms)} ms`),
      table('Rows of the evidence', e.columns.map((c, i) => ({ title: c.name, class: /Int|Float|Decimal/.test(c.type) && !/^Array|^Map/.test(c.type) ? 'num' : 'mono', cell: (r) => (r[i] === null ? '–' : value(r[i])) })), e.rows));
  } catch (e) {
    box.replaceChildren(h('p', { class: 'problem' }, e.message));
  }
  button.disabled = false;
}

/** openFlow shows every field of a flow that is set. */
export function openFlow(r) {
  open(head(h('p', { class: 'kicker' }, 'Flow record'), h('h2', { id: 'detail-title', class: 'mono' }, `${r.src_ip} → ${r.dst_ip}`)),
    pairs(Object.entries(r).filter(([, v]) => v !== 0 && v !== '' && v !== false && !(Array.isArray(v) && v.length === 0)).map(([k, v]) => [k, Array.isArray(v) ? v.join('  ') : String(v)])),
    h('p', { class: 'actions' }, h('button', { type: 'button', onclick: () => { closeDetail(); go({ host: r.src_ip }); } }, 'Only the initiator'), h('button', { type: 'button', onclick: () => { closeDetail(); go({ host: r.dst_ip }); } }, 'Only the responder')));
}
