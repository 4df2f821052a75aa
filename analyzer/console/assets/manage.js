// Exclusions and sweeps of history.
import { $, h, show, table } from './dom.js';
import * as f from './format.js';
import { ask } from './app.js';
import { me, tell } from './me.js';
import { pill } from './view.js';
import { open, head, section, closeDetail } from './detail.js';
import { hitTable } from './host.js';

const words = (text) => text.split(/[\s,]+/).filter(Boolean);

export function exclusions(list, again) {
  const live = list.exclusions.filter((e) => e.active), past = list.exclusions.filter((e) => !e.active);
  show($('exclusions'), list, () => [
    list.exclusions.length === 0 ? h('p', { class: 'hint' }, 'None: every alert is told of.') : table('Exclusions', [
      { title: 'hides', cell: (e) => h('span', { class: `mono wrap${e.active ? '' : ' over'}` }, e.text) },
      { title: 'why', cell: (e) => h('span', { class: 'wrap' }, e.comment) }, { title: 'owner', cell: (e) => e.owner },
      { title: 'until', class: 'nowrap', cell: (e) => (e.action === 'removed' ? `removed by ${e.who}` : e.expires ? f.moment(e.expires) + (e.active ? '' : ', over') : 'for good') },
      { title: 'by', class: 'nowrap', cell: (e) => [e.who, h('small', { class: 'block' }, f.moment(e.at))] },
      { title: '', cell: (e) => (e.active && me.may ? h('button', { type: 'button', 'data-key': `remove-${e.id}`, onclick: () => remove(e, again) }, 'Remove') : '') },
    ], [...live, ...past.slice(0, 20)])]);
  show($('exclusion-controls'), me.may, () => (me.may ? h('button', { type: 'button', id: 'exclusion-add', onclick: () => addExclusion({}, again) }, 'Add') : null));
}

function remove(e, again) {
  const why = h('input', { name: 'why', required: true, maxlength: 1000, 'aria-label': 'Why' });
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  open(head(h('p', { class: 'kicker' }, 'Exclusion'), h('h2', { id: 'detail-title' }, 'Remove')), h('p', { class: 'mono wrap' }, e.text), h('p', {}, e.comment), problem,
    h('form', { class: 'fields', onsubmit: async (event) => {
      event.preventDefault();
      try { await tell('DELETE', `exclusions/${encodeURIComponent(e.id)}`, { why: why.value }); closeDetail(); again(); } catch (x) { problem.hidden = false; problem.textContent = x.message; }
    } }, h('label', {}, 'Why it is no longer needed ', why), h('button', { class: 'primary' }, 'Remove')));
}

/** addExclusion asks for the criteria, shows what they would hide, and stores them. */
export function addExclusion(given, again) {
  const field = (name, label, hint, value) => h('label', {}, label, h('input', { name, value: value || '', placeholder: hint, class: 'mono', autocomplete: 'off', spellcheck: 'false' }));
  const choice = (name, label, options) => h('label', {}, label, h('select', { name }, Object.entries(options).map(([v, t]) => h('option', { value: v }, t))));
  const result = h('div', { class: 'preview', 'aria-live': 'polite' });
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const form = h('form', { class: 'fields', id: 'exclusion-form' },
    field('detectors', 'Detectors', 'portscan_*', given.detectors), field('networks', 'Addresses, networks', '10.0.0.5 10.1.0.0/16', given.networks),
    choice('side', 'Whose address', { '': 'any', actor: 'actor', victim: 'victim', both: 'both' }), field('names', 'Names', '*.example.org'),
    field('ports', 'Ports', '443 8443', given.ports), field('ja4', 'JA4', ''), choice('direction', 'Direction', { '': 'any', outbound: 'outbound', inbound: 'inbound', internal: 'internal' }),
    field('owner', 'Owner', 'who answers for it', me.user), field('comment', 'Why', 'nightly scan of the inventory'), field('expires', 'Until (UTC)', '2027-01-31, empty: for good'),
    h('p', { class: 'actions' }, h('button', { type: 'button', id: 'exclusion-try', onclick: () => send(true) }, 'What would it hide?'), h('button', { class: 'primary', id: 'exclusion-save' }, 'Exclude')));
  const body = () => {
    const v = Object.fromEntries([...new FormData(form)].map(([k, x]) => [k, x.trim()]));
    return { ...v, detectors: words(v.detectors), networks: words(v.networks), names: words(v.names), ports: words(v.ports).map(Number), ja4: words(v.ja4) };
  };
  const send = async (only) => {
    problem.hidden = true;
    try {
      if (only) {
        const p = await tell('POST', 'exclusions/preview', { last: 'all' }, body());
        result.replaceChildren(h('p', {}, h('b', {}, `${f.whole(p.hidden)} of ${f.whole(p.looked)} alerts`), ` from ${f.span(p.range.from, p.range.to)} would be hidden: ${p.per_day.toFixed(1)} a day.`),
          h('ul', { class: 'events' }, p.sample.map((a) => h('li', {}, pill(a.severity), ' ', h('small', { class: 'mono' }, f.short(a.start)), ' ', h('span', { class: 'wrap' }, a.title)))));
        return;
      }
      await tell('POST', 'exclusions', {}, body());
      closeDetail();
      again();
    } catch (e) { problem.hidden = false; problem.textContent = e.message; }
  };
  form.addEventListener('submit', (e) => { e.preventDefault(); send(false); });
  open(head(h('p', { class: 'kicker' }, 'Exclusion'), h('h2', { id: 'detail-title' }, 'Do not tell of alerts that fit all of this')), form, problem, result);
}

export function sweeps(list, go, again) {
  show($('sweeps'), list, () => (list.sweeps.length === 0 ? h('p', { class: 'hint' }, 'None yet: what threat lists bring is looked for in all history by itself.') : table('Sweeps', [
    { title: 'began', class: 'mono nowrap', cell: (w) => h('button', { type: 'button', class: 'link mono', 'data-key': w.id, onclick: () => go({ sweep: w.id }) }, f.moment(w.began)) },
    { title: 'for', cell: (w) => [h('span', { class: 'wrap' }, w.source === 'indicators' ? `new on ${w.lists.join(', ')}` : w.source), w.who ? h('small', { class: 'block' }, w.who) : null] },
    { title: 'indicators', class: 'num', cell: (w) => f.whole(w.indicators) },
    { title: 'state', cell: (w) => (w.state === 'running' ? `${w.parts_done} of ${w.parts} parts` : w.error || w.state) },
    { title: 'hits', class: 'num', cell: (w) => f.whole(w.hits) }, { title: 'hosts', class: 'num', cell: (w) => f.whole(w.hosts) }, { title: 'took', class: 'num nowrap', cell: (w) => f.length(w.took_ms / 1000) },
  ], list.sweeps)));
  show($('sweep-controls'), me.may, () => (me.may ? h('button', { type: 'button', id: 'sweep-add', onclick: () => addSweep(again) }, 'Sweep for a list') : null));
}

function addSweep(again) {
  const name = h('input', { name: 'name', required: true, maxlength: 100 });
  const list = h('textarea', { name: 'list', rows: 12, required: true, class: 'mono', spellcheck: 'false', placeholder: '203.0.113.9\nevil.example\nja4:t13d1516h2_8daaf6152771_e5627efa2ab1' });
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  open(head(h('p', { class: 'kicker' }, 'Sweep of history'), h('h2', { id: 'detail-title' }, 'Look for a list in all that is stored')), problem,
    h('form', { class: 'fields', onsubmit: async (e) => {
      e.preventDefault();
      try { await tell('POST', 'sweeps', {}, { name: name.value, list: list.value }); closeDetail(); again(); } catch (x) { problem.hidden = false; problem.textContent = x.message; }
    } }, h('label', {}, 'Name ', name), h('label', { class: 'whole' }, 'Indicators: one a line, CSV, STIX 2.1 or MISP ', list), h('button', { class: 'primary' }, 'Sweep')));
}

let current = '';
export const leaveSweep = () => { current = ''; };

export async function openSweep(id, go) {
  if (current === id) return;
  current = id;
  let a;
  try { a = await ask(`sweeps/${encodeURIComponent(id)}`); } catch (e) { open(head(h('h2', { id: 'detail-title' }, 'Sweep')), h('p', { class: 'problem' }, e.message)); return; }
  if (current !== id) return;
  const w = a.sweep;
  const odd = a.days.filter((d) => d.verdict !== 'complete');
  open(head(h('p', { class: 'kicker' }, `Sweep of history · ${w.state} · ${f.moment(w.began)}`), h('h2', { id: 'detail-title' }, `${f.whole(w.indicators)} indicators of ${w.source === 'indicators' ? w.lists.join(', ') : w.source}`)),
    w.error ? h('p', { class: 'problem' }, w.error) : '',
    section('What was looked through', h('p', { class: 'coverage' }, a.coverage), odd.length ? h('div', { class: 'scroll tall', tabindex: 0, role: 'region', 'aria-label': 'Days' }, table('Days that are not complete', [
      { title: 'day', class: 'mono nowrap', cell: (d) => d.day || 'of all time' }, { title: '', cell: (d) => d.verdict }, { title: 'tables', cell: (d) => d.tables.join(' ') },
      { title: 'flows stored', class: 'num', cell: (d) => f.whole(d.flow_rows) }, { title: 'in rollups', class: 'num', cell: (d) => f.whole(d.rollup_rows) }, { title: 'told of', class: 'num', cell: (d) => f.whole(d.promised_rows) }], odd)) : ''),
    section(`Hits (${f.whole(a.hits.length)}${a.more ? ' and more' : ''})`, a.hits.length === 0 ? h('p', { class: 'hint' }, 'Nobody had to do with any of it.') :
      h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Hits' }, hitTable(a.hits, (ip) => { closeDetail(); go({ about: ip, sweep: '' }); }))));
}
