// The dialog about one host: its timeline, who else talked to it, what it did
// first when, and what sweeps of history found.
import { h, table } from './dom.js';
import * as f from './format.js';
import { ask } from './app.js';
import { address } from './view.js';
import { open, head, section, closeDetail } from './detail.js';

let current = '';
export const leaveHost = () => { current = ''; };

export async function openHost(ip, range, go) {
  const key = JSON.stringify([ip, range]);
  if (current === key) return;
  current = key;
  open(head(h('p', { class: 'kicker' }, 'Host'), h('h2', { id: 'detail-title', class: 'mono' }, ip)), h('p', { class: 'hint' }, 'Loading …'));
  let a;
  try {
    a = await ask(`hosts/${encodeURIComponent(ip)}`, range);
  } catch (e) {
    if (current === key) open(head(h('h2', { id: 'detail-title', class: 'mono' }, ip)), h('p', { class: 'problem' }, e.message));
    return;
  }
  if (current !== key) return;
  const leave = (change) => { closeDetail(); go({ ...change, about: '' }); };
  const scroll = (name, child) => h('div', { class: 'scroll tall', tabindex: 0, role: 'region', 'aria-label': name }, child);
  const peers = new Set(a.contacts.map((c) => c.peer));
  open(
    head(h('p', { class: 'kicker' }, `Host · ${f.span(a.range.from, a.range.to)} UTC`), h('h2', { id: 'detail-title', class: 'mono' }, a.host)),
    h('p', { class: 'actions' }, h('button', { type: 'button', onclick: () => leave({ host: a.host }) }, 'Only this host')),
    a.more ? h('p', { class: 'hint' }, 'There is more than is shown: choose a shorter range.') : '',
    section(`Timeline (${f.whole(a.timeline.length)})`, a.timeline.length === 0 ? h('p', { class: 'hint' }, 'Nothing is known of it in this range.') : scroll('Timeline', table('Timeline', [
      { title: 'time (UTC)', class: 'mono nowrap', cell: (e) => f.moment(e.time) },
      { title: 'what', class: 'nowrap', cell: (e) => e.kind },
      { title: '', cell: (e) => [e.kind === 'alert' ? h('button', { type: 'button', class: 'link', onclick: () => leave({ alert: e.detail.split(' ').pop() }) }, e.what) : h('span', { class: 'mono wrap' }, e.what),
        e.detail && e.kind !== 'alert' ? h('small', { class: 'block' }, e.detail) : null] },
      { title: 'last', class: 'mono nowrap', cell: (e) => f.moment(e.until) }], a.timeline))),
    section(`Who else (${f.whole(peers.size)})`, a.contacts.length === 0 ? h('p', { class: 'hint' }, 'Nobody, by the rollups of the hour.') : scroll('Contacts', table('Contacts', [
      { title: 'peer', class: 'nowrap', cell: (c) => address(c.peer, () => leave({ about: c.peer })) },
      { title: '', class: 'nowrap', cell: (c) => c.direction },
      { title: 'first', class: 'mono nowrap', cell: (c) => f.short(c.first) }, { title: 'last', class: 'mono nowrap', cell: (c) => f.short(c.last) },
      { title: 'flows', class: 'num', cell: (c) => f.whole(c.flows) }, { title: 'failed', class: 'num', cell: (c) => f.whole(c.failed) },
      { title: 'sent', class: 'num nowrap', cell: (c) => f.bytes(c.sent_bytes) }, { title: 'received', class: 'num nowrap', cell: (c) => f.bytes(c.received_bytes) },
      { title: 'services', class: 'text', cell: (c) => h('span', {}, [...c.apps, ...c.services].join(' ')) }], a.contacts))),
    a.hits.length ? section('On threat lists', scroll('Hits', hitTable(a.hits, (ip) => leave({ about: ip })))) : '',
    section('First times', a.firsts.length === 0 ? h('p', { class: 'hint' }, 'None is kept.') : scroll('First times', table('First times', [
      { title: 'kind', class: 'nowrap', cell: (x) => x.kind }, { title: 'value', class: 'mono wrap', cell: (x) => x.value },
      { title: 'first', class: 'mono nowrap', cell: (x) => f.moment(x.first) }, { title: 'last', class: 'mono nowrap', cell: (x) => f.moment(x.last) }], a.firsts))));
}

export const hitTable = (hits, about) => table('Hits', [
  { title: 'first', class: 'mono nowrap', cell: (x) => f.moment(x.first) }, { title: 'last', class: 'mono nowrap', cell: (x) => f.moment(x.last) },
  { title: 'host', class: 'nowrap', cell: (x) => (x.host ? address(x.host, () => about(x.host)) : 'not stored') },
  { title: 'seen', cell: (x) => [h('span', { class: 'mono wrap' }, x.seen), h('small', { class: 'block' }, `${x.field} · ${x.list} ${x.kind}${x.value === x.seen ? '' : ` ${x.value}`}`)] },
  { title: 'flows', class: 'num', cell: (x) => f.whole(x.flows) }, { title: 'bytes', class: 'num nowrap', cell: (x) => f.bytes(x.bytes) },
  { title: 'from', class: 'nowrap', cell: (x) => x.tables.join(' ') }], hits);
