// The parts of the page, each from one answer of the API.
import { $, h, show, bar, table } from './dom.js';
import * as f from './format.js';

/** address is a button that filters by it. */
export const address = (ip, go) => h('button', { type: 'button', class: 'link mono', 'data-key': ip, title: `Only ${ip}`, onclick: (e) => { e.stopPropagation(); go({ host: ip }); } }, ip);

export function empty(status) {
  const none = status.range.from === '';
  document.body.classList.toggle('none', none);
  $('empty').hidden = !none;
  if (none) {
    show($('empty'), 'none', () => [h('h2', {}, 'No traffic yet'),
      h('p', {}, 'The console is ready, but no batch of a probe has reached the database.'),
      h('ul', {}, h('li', {}, 'Read a capture: ', h('code', {}, 'tapwatch up -r FILE.pcap')), h('li', {}, 'Watch an interface: ', h('code', {}, 'tapwatch up -i eth0')),
        h('li', {}, 'With separate services: look at /readyz of probe and collector; they say what they wait for.')),
      h('p', {}, 'This page shows the first flows by itself, within seconds.')]);
  }
}

export const legend = (t) => t.series.map((s, k) => h('li', {}, h('i', { class: s.other ? 'cx' : `c${k % 8}` }), h('span', {}, s.name || 'undetermined'), h('em', {}, f.amount(t.metric, s.total))));

export function tiles(top) {
  const t = top.total;
  show($('tiles'), [t, top.names, top.range], () => [['IP traffic', f.bytes(t.bytes)], ['Packets', f.count(t.packets)], ['Connections', f.count(t.flows)], ['Applications', f.count(top.names)]]
    .map(([name, value]) => h('div', { class: 'tile' }, h('b', {}, value), h('span', {}, name))));
}

export function top(box, t, go) {
  const isAddress = ['host', 'src_ip', 'dst_ip'].includes(t.by);
  show(box, [t.top, t.metric, t.by], () => t.top.length === 0 ? h('p', { class: 'hint' }, 'None in this range.') :
    h('ol', { class: 'top-list' }, t.top.map((e) => h('li', {},
      h('span', { class: 'name' }, isAddress ? address(e.name, go) : h('span', { class: t.by === 'app' ? '' : 'mono', title: e.name }, e.name || 'undetermined')),
      h('em', {}, f.amount(t.metric, e[t.metric])), bar([{ share: e.share, class: 'c0' }], f.percent(e.share)), h('small', {}, f.percent(e.share))))));
}

const pill = (severity) => h('span', { class: `pill ${['info', 'low', 'medium', 'high', 'critical'].includes(severity) ? severity : ''}` }, severity);
export { pill };

const standing = (x) => [x.withdrawn ? 'withdrawn' : '', x.suppressed_by ? 'hidden' : '', x.status.state === 'open' ? (x.status.reopened ? 'open again' : '') : x.status.state,
  x.status.verdict && { true: 'true positive', benign: 'benign', false: 'false positive' }[x.status.verdict], x.status.owner, x.status.comments ? `${x.status.comments} ${x.status.comments === 1 ? 'comment' : 'comments'}` : ''].filter(Boolean).join(' · ');

export function alerts(a, state, go) {
  show($('alerts'), [a.alerts.map((x) => [x.id, x.revision, x.status]), a.total, state.severity, state.show], () => {
    if (a.alerts.length === 0) return h('p', { class: 'hint' }, state.severity || state.host || state.show ? 'No alert fits.' : 'No alerts in this range.');
    return [h('p', { class: 'counts' }, ['critical', 'high', 'medium', 'low', 'info'].filter((s) => a.by_severity[s]).map((s) => h('span', {}, pill(s), ` ${a.by_severity[s]} `))),
      h('ul', { class: 'alert-list', tabindex: -1 }, a.alerts.map((x) => h('li', {}, h('button', { type: 'button', 'data-key': x.id, onclick: () => go({ alert: x.id }) },
        pill(x.severity), h('b', {}, x.title),
        h('span', { class: 'who mono' }, x.actor || 'many', ' → ', x.victim || 'many'),
        h('span', { class: 'when' }, `${f.short(x.start)}${x.provisional ? ' · provisional' : ''}`),
        standing(x) ? h('span', { class: 'standing' }, standing(x)) : null,
        h('span', { class: 'score', title: 'score' }, x.score === null ? '' : x.score.toFixed(2)))))),
      a.total > a.alerts.length ? h('p', { class: 'hint' }, `The newest ${a.alerts.length} of ${f.whole(a.total)}; choose a shorter range for the others.`) : null];
  });
}

/** parts of a completeness, for a bar. */
const parts = (c) => {
  const seen = c.seen_packets || 1, of = (kind) => c.losses.filter((l) => l.kind === kind).reduce((s, l) => s + l.packets, 0);
  return [{ share: c.flow_packets / seen, class: 'in' }, { share: of('aside') / seen, class: 'aside' }, { share: of('lost') / seen, class: 'lost' }, { share: Math.max(c.open, 0) / seen, class: 'open' }];
};

/** sentence says what a completeness means. */
export function sentence(c) {
  if (c.share === null) return 'Nothing was seen in this range, so nothing is known about it.';
  const aside = c.losses.filter((l) => l.kind === 'aside' && l.packets).map((l) => `${f.whole(l.packets)} ${l.reason}`).join(', ');
  const lost = c.losses.filter((l) => l.kind === 'lost' && (l.packets || l.records)).map((l) => (l.packets ? `${f.whole(l.packets)} packets ${l.reason}` : `${f.whole(l.records)} records ${l.reason}`)).join(', ');
  return `${f.percent(c.share)} of ${f.whole(c.seen_packets)} packets are in flows. ` + (aside ? `Set aside: ${aside}. ` : '') + (lost ? `Lost: ${lost}. ` : 'Nothing was lost. ') +
    (c.gaps ? `${f.whole(c.gaps)} batches are missing. ` : '') + (c.open > 0 ? `${f.whole(c.open)} packets are still under way. ` : '');
}

export const completenessBar = (c) => [bar(parts(c), sentence(c)), h('p', { class: 'hint' }, sentence(c))];

const grade = (c) => (c.share === null ? 'unknown' : c.lost_share > 0.01 || c.gaps ? 'bad' : c.incomplete ? 'fair' : 'good');

/** source says which tables answered, and what part was read. */
export function source(s) {
  show($('source'), s || 0, () => !s ? '' : [`from ${s.tables.join(', ')}`, s.sample ? ` · a sample: ${s.sample.note}` : '', s.provisional ? ` · provisional from ${f.clock(s.provisional)}` : '',
    s.gone.length ? ' · flows of part of this time are no longer stored' : ''].join(''));
}

export function ledger(l, state, go) {
  const c = l.completeness;
  show($('completeness'), c, () => [h('i', { class: grade(c) }), c.share === null ? 'nothing seen' : c.lost_share > 0 || c.gaps || c.losses.some((x) => x.kind === 'lost') ? `${f.percent(c.lost_share)} lost` : 'nothing lost']);
  $('completeness').title = sentence(c);
  const chip = (name, text) => (state[name] === '' ? null : h('span', { class: 'filter' }, text, h('b', { class: 'mono' }, state[name]),
    h('button', { type: 'button', class: 'link', 'aria-label': `Remove ${text}${state[name]}`, onclick: () => go({ [name]: '' }) }, '×')));
  show($('state'), [l.range, state.host, state.q, state.sample], () => [h('span', {}, l.range.from ? `${f.span(l.range.from, l.range.to)} UTC` : ''), chip('host', 'only '), state.host && !state.host.includes('/') ? h('button', { type: 'button', class: 'link', id: 'about', onclick: () => go({ about: state.host }) }, 'about this host') : null, chip('q', 'where '), chip('sample', 'sample ')]);
  show($('ledger'), l, () => {
    const rows = l.probes.length > 1 ? [...l.probes, { ...l.total, probe: 'all', sum: true }] : l.probes;
    if (rows.length === 0) return h('p', { class: 'hint' }, 'No probe has told anything about this range.');
    const n = (title, cell, cls) => ({ title, class: 'num ' + (cls || ''), cell: (r) => f.whole(cell(r)) });
    const reasons = [...new Set(rows.flatMap((r) => r.losses.filter((x) => x.packets).map((x) => x.reason)))];
    return [h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Packets by probe' }, table('Packets by probe', [
      { title: 'probe', cell: (r) => r.probe || '(unreadable)' }, n('packets seen', (r) => r.seen_packets), n('in flows', (r) => r.flow_packets),
      ...reasons.map((reason) => n(reason, (r) => r.losses.find((x) => x.reason === reason)?.packets || 0, 'loss')), n('under way', (r) => r.open),
      { title: 'in flows', class: 'num', cell: (r) => f.percent(r.share) }, { title: '', class: 'wide-bar', cell: (r) => bar(parts(r), sentence(r)) }], rows, (r) => ({ class: r.sum ? 'sum' : '' }))),
    h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Records by probe' }, table('Records by probe', [
      { title: 'probe', cell: (r) => r.probe || '(unreadable)' }, n('records made', (r) => r.records), n('lost', (r) => r.losses.reduce((s, x) => s + x.records, 0)),
      n('published', (r) => r.rows.published), n('stored', (r) => r.rows.stored), n('duplicate', (r) => r.rows.duplicate), n('expired', (r) => r.rows.expired),
      n('batches', (r) => r.batches.published), n('quarantined', (r) => r.batches.quarantined), n('dropped', (r) => r.dropped.reduce((s, x) => s + x.batches, 0)), n('missing', (r) => r.gaps),
      n('interruptions', (r) => r.interruptions.length)], rows, (r) => ({ class: r.sum ? 'sum' : '' }))),
    h('ul', { class: 'notes' }, l.probes.flatMap((p) => p.interruptions.map((x) => h('li', {}, `${p.probe} did not watch for ${f.length(x.seconds)}, from ${f.moment(x.from)} to ${f.moment(x.to)}; at most ${f.whole(x.flows_at_most)} open flows went with it.`)))),
    h('p', { class: 'key' }, [['in', 'in flows'], ['aside', 'set aside (not IP, filtered)'], ['lost', 'lost'], ['open', 'still under way']].map(([c, text]) => h('span', {}, h('i', { class: c }), text)))];
  });
}

const protocols = { 1: 'icmp', 2: 'igmp', 6: 'tcp', 17: 'udp', 47: 'gre', 50: 'esp', 58: 'icmp6', 132: 'sctp' };
export const protocol = (n) => protocols[n] || String(n);
const ports = (r) => [6, 17, 132].includes(r.protocol);
const name = (r) => r.tls_sni || (r.http_host || r.http_uri ? `${r.http_method} ${r.http_host}${r.http_uri}` : '') || r.dns_names.join(' ') || r.ssh_client || '';

export function flows(box, l, go, openFlow) {
  show(box, l.flows, () => l.flows.length === 0 ? h('p', { class: 'hint' }, 'No flow fits.') : flowTable(l.flows, go, openFlow));
}

export const flowTable = (rows, go, openFlow) => table('Flows', [
  { title: 'start (UTC)', class: 'mono nowrap', cell: (r) => openFlow ? h('button', { type: 'button', class: 'link mono', 'data-key': `${r.probe}/${r.worker}/${r.flow_id}/${r.segment}`, title: 'All fields', onclick: () => openFlow(r) }, f.moment(r.start)) : f.moment(r.start) },
  { title: 'initiator', class: 'nowrap', cell: (r) => [address(r.src_ip, go), ports(r) ? h('span', { class: 'port' }, `:${r.src_port}`) : null] },
  { title: 'responder', class: 'nowrap', cell: (r) => [address(r.dst_ip, go), ports(r) ? h('span', { class: 'port' }, `:${r.dst_port}`) : null] },
  { title: 'protocol', class: 'nowrap', cell: (r) => `${protocol(r.protocol)}${r.app ? ` · ${r.app}` : ''}` },
  { title: 'name', class: 'text', cell: (r) => h('span', { title: name(r) }, name(r)) },
  { title: 'bytes', class: 'num nowrap', cell: (r) => f.bytes(r.src_bytes + r.dst_bytes) },
  { title: 'packets', class: 'num', cell: (r) => f.whole(r.src_packets + r.dst_packets) },
  { title: 'state', cell: (r) => r.conn_state },
  { title: 'duration', class: 'num nowrap', cell: (r) => f.length((new Date(r.end) - new Date(r.start)) / 1000) },
], rows);

export function status(s) {
  show($('versions'), [s.versions, s.probes], () => [`Tapwatch ${s.versions.tapwatch} · ClickHouse ${s.versions.clickhouse}`,
    ...s.probes.map((p) => h('span', { class: `probe ${p.state}` }, ` · ${p.probe}: ${p.state}`, p.live && p.lag_s !== null ? ` (${f.length(p.lag_s)} behind)` : ''))]);
  show($('status'), s.detectors, () => s.detectors.length === 0 ? h('p', { class: 'hint' }, 'No detector has run yet.') : table('Detectors', [
    { title: 'detector', cell: (d) => [h('b', { title: d.doc }, d.title || d.name), h('small', { class: 'mono block' }, `${d.name} ${d.version}`)] },
    { title: 'techniques', cell: (d) => d.techniques.join(' ') },
    { title: 'alerts', class: 'num', cell: (d) => f.whole(d.alerts) },
    { title: 'windows judged', class: 'num', cell: (d) => f.whole(d.windows) },
    { title: 'up to (UTC)', class: 'mono nowrap', cell: (d) => f.moment(d.last_window.to) },
    { title: 'state', cell: (d) => d.last_error || d.note || (d.provisional ? `${f.whole(d.provisional)} windows still open` : d.windows ? 'up to date' : 'has not run') },
  ], s.detectors));
}
