// The page: state is the address, data is the API, asked again every few
// seconds. What has not changed is not touched.
import { $, h, show } from './dom.js';
import { Chart } from './chart.js';
import * as f from './format.js';
import * as view from './view.js';
import { openAlert, closeDetail, openFlow, leaveAlert } from './detail.js';
import { openHost, leaveHost } from './host.js';
import { exclusions, sweeps, openSweep, leaveSweep } from './manage.js';
import { filterLine } from './filter.js';

const RANGES = ['15m', '1h', '24h', '7d', '30d', 'all'];
const REFRESH_MS = 5000;

// What is shown while the address names no range: the last day of live
// traffic, or all of what captures held.
let usual = '24h';

const state = {};

/** read takes the state from the address. */
function read() {
  const q = new URLSearchParams(location.search);
  Object.assign(state, {
    from: q.get('from') || '', to: q.get('to') || '', last: q.get('last') || '', host: q.get('host') || '', q: q.get('q') || '', sample: q.get('sample') || '', alert: q.get('alert') || '', about: q.get('about') || '', sweep: q.get('sweep') || '', show: q.get('show') || '',
    metric: q.get('metric') || 'bytes', by: q.get('by') || 'host', severity: q.get('severity') || '', order: q.get('order') || 'newest',
  });
}

const defaults = { metric: 'bytes', by: 'host', order: 'newest', last: '' };

/** go changes the state and shows it; the address holds it. */
export function go(change, replace) {
  Object.assign(state, change);
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(state)) if (v && v !== defaults[k]) q.set(k, v);
  const url = q.toString() ? `/?${q}` : '/';
  history[replace ? 'replaceState' : 'pushState'](null, '', url);
  controls();
  refresh();
}

/** range is the part of a question that says when. */
export function range() {
  // A filter may say when itself; without, the API's own range is the usual one.
  return state.from || state.to ? { from: state.from, to: state.to } : { last: state.last || (state.q ? '' : usual) };
}

let running;

/** ask gets a JSON answer; an error has the sentence of the API. */
export async function ask(path, params, signal) {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(params || {})) if (v !== '' && v !== undefined) q.set(k, v);
  const resp = await fetch(`/api/v1/${path}?${q}`, { signal, headers: { Accept: 'application/json' } });
  if (resp.status === 401) { location.assign('/login'); throw new DOMException('logged out', 'AbortError'); }
  const body = await resp.json().catch(() => ({}));
  if (!resp.ok) {
    const place = body.errors?.find((e) => e.location?.startsWith('query.q:'))?.value;
    const error = new Error((!place && body.errors && body.errors.map((e) => `${e.location || ''} ${e.message}`).join('; ')) || body.detail || `${resp.status} ${resp.statusText}`);
    throw Object.assign(error, { status: resp.status, place });
  }
  return body;
}

const chart = new Chart($('chart'), (from, to) => go({ from: new Date(from * 1000).toISOString(), to: new Date(to * 1000).toISOString(), last: '' }));

async function refresh() {
  running?.abort();
  const mine = (running = new AbortController());
  const { signal } = mine;
  const status = ask('status', {}, signal);
  if (!state.last && !state.from && !state.to) {
    const s = await status.catch(() => null); // its error is told below
    if (mine !== running) return;
    const now = s && s.probes.length && !s.probes.some((p) => p.live) ? 'all' : '24h';
    if (now !== usual) { usual = now; controls(); }
  }
  const when = range(), { metric, by, severity, order, host } = state;
  const which = { ...when, host, q: state.q, sample: state.sample };
  const shown = { '': {}, open: { state: 'open' }, acknowledged: { state: 'acknowledged' }, closed: { state: 'closed' }, cases: { detector: 'case' }, hidden: { hidden: 'true' } };
  const entity = host.includes('/') ? '' : host;
  document.body.classList.add('loading');
  const parts = [
    status.then((s) => { view.empty(s); view.status(s); }),
    ask('timeseries', { ...which, metric, split: 'app' }, signal).then((t) => {
      view.source(t.source);
      show($('legend'), t.series.map((s) => [s.name, s.total]), () => view.legend(t));
      const key = JSON.stringify(t);
      if (chart.key !== key) { chart.key = key; chart.set(t); }
    }),
    ask('alerts', { ...when, severity, entity, ...shown[state.show], limit: 200 }, signal).then((a) => view.alerts(a, state, go)),
    ask('top', { ...which, metric, by, n: 10 }, signal).then((t) => view.top($('talkers'), t, go)),
    ask('top', { ...which, metric, by: 'app', n: 10 }, signal).then((t) => { view.top($('apps'), t, go); view.tiles(t); }),
    ask('exclusions', {}, signal).then((l) => exclusions(l, refresh)),
    ask('sweeps', {}, signal).then((l) => sweeps(l, go, refresh)),
    ask('ledger', when, signal).then((l) => view.ledger(l, state, go)),
    ask('flows', { ...which, order, limit: 100 }, signal).then((l) => view.flows($('flows'), l, go, openFlow)),
  ];
  const results = await Promise.allSettled(parts);
  if (mine !== running) return;
  document.body.classList.remove('loading');
  const failed = results.filter((r) => r.status === 'rejected' && r.reason.name !== 'AbortError').map((r) => r.reason);
  const sentences = [...new Set(failed.map((e) => (e instanceof TypeError ? 'The console does not answer. This page tries again every few seconds.' : e.message)))];
  $('problem').hidden = sentences.length === 0;
  const large = failed.some((e) => e.status === 422) && state.sample === '';
  show($('problem'), [sentences, large], () => [sentences.join(' · '), large ? h('button', { type: 'button', class: 'sample', onclick: () => go({ sample: 'auto' }) }, 'Read a sample') : null]);
  $('live').classList.toggle('stale', sentences.length > 0);
  show($('live'), [sentences.length], () => (sentences.length ? 'stale' : 'live'));
  schedule();
}

// A bare address or network in the line is the host, as a click on one is.
const showFilter = filterLine(ask, (q) => go(/^[0-9a-f.:]+(\/\d+)?$/i.test(q) && /[.:]/.test(q) ? { host: q, q: '' } : { q }));

let timer;
function schedule() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, REFRESH_MS);
}

function controls() {
  const current = state.from || state.to ? '' : state.last || usual;
  show($('ranges'), current, () => RANGES.map((r) => h('button', { type: 'button', 'data-key': r, 'aria-pressed': r === current, onclick: () => go({ last: r, from: '', to: '' }) }, r)));
  $('custom').classList.toggle('on', current === '');
  const form = $('custom-form');
  if (document.activeElement?.form !== form) {
    form.elements.from.value = state.from ? f.input(state.from) : form.elements.from.value;
    form.elements.to.value = state.to ? f.input(state.to) : form.elements.to.value;
  }
  showFilter(state.q);
  const choose = (name, label, options) => h('select', { 'aria-label': label, 'data-key': name, onchange: (e) => go({ [name]: e.target.value }) },
    Object.entries(options).map(([v, text]) => h('option', { value: v, selected: v === state[name] }, text)));
  const select = (id, name, label, options) => show($(id), [state[name], state.host, state.q, current, state.show], () => [
    id === 'alert-controls' ? choose('show', 'Which alerts', { '': 'all', open: 'open', acknowledged: 'acknowledged', closed: 'closed', cases: 'cases', hidden: 'with hidden ones' }) : null,
    id === 'flow-controls' ? h('a', { href: `/api/v1/flows.csv?${new URLSearchParams({ ...range(), host: state.host, q: state.q, order: state.order, limit: 1000 })}`, download: 'flows.csv' }, 'CSV') : null,
    choose(name, label, options)]);
  select('traffic-controls', 'metric', 'Measure', { bytes: 'IP bytes', frame_bytes: 'bytes on the wire', packets: 'packets', flows: 'connections' });
  select('talker-controls', 'by', 'Who', { host: 'hosts', src_ip: 'initiators', dst_ip: 'responders', pair: 'pairs', dst_port: 'ports', tls_sni: 'TLS server names', http_host: 'HTTP hosts', dns_name: 'DNS names', ja4: 'JA4' });
  select('alert-controls', 'severity', 'Severity', { '': 'all severities', low: 'low and above', medium: 'medium and above', high: 'high and above', critical: 'critical' });
  select('flow-controls', 'order', 'Order', { newest: 'newest', oldest: 'oldest', bytes: 'most bytes', packets: 'most packets', duration: 'longest' });
  if (state.alert) openAlert(state.alert, go);
  else if (state.about) openHost(state.about, range(), go);
  else if (state.sweep) openSweep(state.sweep, go);
  else closeDetail();
}

$('custom-form').addEventListener('submit', (e) => {
  e.preventDefault();
  const { from, to } = e.target.elements;
  $('custom').open = false;
  go({ from: `${from.value}Z`, to: `${to.value}Z`, last: '' });
});
$('completeness').addEventListener('click', () => $('ledger-card').scrollIntoView({ behavior: 'smooth' }));
$('detail').addEventListener('close', () => {
  leaveAlert(); leaveHost(); leaveSweep();
  if (state.alert || state.about || state.sweep) go({ alert: '', about: '', sweep: '' });
});
$('detail').addEventListener('click', (e) => { if (e.target === $('detail')) $('detail').close(); });
addEventListener('popstate', () => { read(); controls(); refresh(); });
document.addEventListener('visibilitychange', () => { if (document.hidden) clearTimeout(timer); else refresh(); });

read();
controls();
refresh();
