// What people do about an alert: owner, state, verdict and comments; and the
// timeline of a case.
import { h, table } from './dom.js';
import * as f from './format.js';
import { ask } from './app.js';
import { me, tell } from './me.js';
import { pill } from './view.js';

const words = { true: 'true positive', benign: 'benign', false: 'false positive', '': 'not judged' };

/** handling is the section with how an alert stands, what can be done, and what was. */
export function handling(alert) {
  const box = h('section', { class: 'handling' });
  const draw = async (message) => {
    const status = alert.status;
    let events = [];
    try { events = (await ask(`alerts/${encodeURIComponent(alert.id)}/events`)).events; } catch (e) { message = e.message; }
    const act = async (kind, value, comment) => {
      try {
        await tell('POST', `alerts/${encodeURIComponent(alert.id)}/events`, {}, { kind, value, comment });
        alert.status = (await ask(`alerts/${encodeURIComponent(alert.id)}`)).alert.status;
        await draw('');
      } catch (e) { if (e.name !== 'AbortError') await draw(e.message); }
    };
    const button = (text, kind, value, on) => h('button', { type: 'button', 'data-act': `${kind}:${value}`, disabled: on, onclick: () => act(kind, value) }, text);
    const comment = h('input', { name: 'comment', maxlength: 4000, placeholder: 'Comment', 'aria-label': 'Comment' });
    box.replaceChildren(
      h('h3', {}, 'Handling'),
      h('p', { class: 'standing' }, h('b', { class: `state-${status.state}` }, status.reopened ? 'open again: it has become more severe' : status.state), ` · ${status.owner ? `owner ${status.owner}` : 'nobody owns it'} · ${words[status.verdict]}`),
      alert.withdrawn ? h('p', { class: 'hint' }, 'Withdrawn: no window holds it any more.') : '',
      alert.suppressed_by ? h('p', { class: 'hint' }, `Nobody is told of it: ${alert.suppressed_by}.`) : '',
      me.may ? h('p', { class: 'actions' },
        status.owner === me.user ? button('Give it back', 'owner', '') : button('Take it', 'owner', me.user),
        button('Acknowledge', 'state', 'acknowledged', status.state === 'acknowledged'), status.state === 'closed' ? button('Reopen', 'state', 'open') : button('Close', 'state', 'closed'),
        h('span', { class: 'group', role: 'group', 'aria-label': 'Verdict' }, ['true', 'benign', 'false'].map((v) => h('button', { type: 'button', 'data-act': `verdict:${v}`, 'aria-pressed': status.verdict === v, onclick: () => act('verdict', status.verdict === v ? '' : v) }, words[v])))) : '',
      me.may ? h('form', { class: 'line', onsubmit: (e) => { e.preventDefault(); if (comment.value.trim()) act('comment', comment.value.trim()); } }, comment, h('button', {}, 'Add')) : '',
      message ? h('p', { class: 'problem', role: 'alert' }, message) : '',
      events.length ? h('ul', { class: 'events' }, events.slice().reverse().map((e) => h('li', {}, h('small', { class: 'mono' }, f.moment(e.at)), ' ', h('b', {}, e.who), ' ',
        e.kind === 'comment' ? h('span', { class: 'wrap' }, `“${e.value}”`) : `${e.kind}: ${e.kind === 'verdict' ? words[e.value] : e.value || 'nobody'}`, e.comment ? ` (${e.comment})` : ''))) : h('p', { class: 'hint' }, 'Nobody has touched it.'));
  };
  draw('');
  return box;
}

/** caseTimeline is the alerts of a case in the order of time. */
export function caseTimeline(steps, open) {
  return table('Alerts of the case', [
    { title: 'start (UTC)', class: 'mono nowrap', cell: (s) => h('button', { type: 'button', class: 'link mono', onclick: () => open(s.alert) }, f.moment(s.start)) },
    { title: 'tactic', class: 'nowrap', cell: (s) => s.tactic },
    { title: '', cell: (s) => pill(s.severity) },
    { title: 'alert', cell: (s) => [h('span', { class: 'wrap' }, s.title), h('small', { class: 'block mono' }, `${s.detector} · ${s.role}`)] },
  ], steps);
}
