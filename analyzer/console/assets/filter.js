// The filter line: the language of the API's q, with what could come next
// beneath it. What is written is asked of the API and never judged here.
import { $, h } from './dom.js';

const WAIT_MS = 70;
const octets = (s) => new TextEncoder().encode(s).length;
/** units turns octets from the start of a text into its own units. */
const units = (s, n) => new TextDecoder().decode(new TextEncoder().encode(s).slice(0, n)).length;

/** filterLine makes the form work: ask(path, params, signal) is the API, done(text) takes a filter that it accepts. */
export function filterLine(ask, done) {
  const form = $('filter-form'), input = form.elements.q, list = $('filter-list'), problem = $('filter-problem');
  let offer = null, active = -1, timer, running;

  const close = () => {
    clearTimeout(timer);
    running?.abort();
    offer = null;
    active = -1;
    list.hidden = true;
    list.replaceChildren();
    input.setAttribute('aria-expanded', 'false');
    input.removeAttribute('aria-activedescendant');
  };

  const mark = (i) => {
    list.children[active]?.setAttribute('aria-selected', 'false');
    active = i;
    const e = list.children[active];
    if (!e) { input.removeAttribute('aria-activedescendant'); return; }
    e.setAttribute('aria-selected', 'true');
    e.scrollIntoView({ block: 'nearest' });
    input.setAttribute('aria-activedescendant', e.id);
  };

  const take = (i) => {
    const { from, to, text, items } = offer;
    const put = items[i].text + (text.slice(to).startsWith(' ') || items[i].text === '(' ? '' : ' ');
    const tail = text.slice(to);
    input.value = text.slice(0, from) + put + tail;
    const at = from + put.length;
    input.setSelectionRange(at, at);
    close();
    propose();
  };

  const propose = () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const text = input.value, cursor = input.selectionStart;
      running?.abort();
      const mine = (running = new AbortController());
      let c;
      try {
        c = await ask('complete', { q: text, cursor: octets(text.slice(0, cursor)) }, mine.signal);
      } catch { return; }
      if (mine.signal.aborted || input.value !== text || document.activeElement !== input) return;
      offer = { ...c, text, from: units(text, c.from), to: units(text, c.to) };
      active = -1;
      list.replaceChildren(...c.items.map((p, i) => h('li', { id: `filter-${i}`, role: 'option', 'aria-selected': 'false', onmousedown: (e) => { e.preventDefault(); take(i); } },
        h('b', { class: 'mono' }, p.text), h('span', {}, p.doc), h('small', {}, p.kind))));
      list.hidden = c.items.length === 0;
      list.scrollTop = 0;
      input.setAttribute('aria-expanded', String(!list.hidden));
    }, WAIT_MS);
  };

  const complain = (message) => {
    problem.hidden = !message;
    problem.replaceChildren(message || '');
    input.setAttribute('aria-invalid', String(!!message));
  };

  input.addEventListener('input', () => { complain(''); propose(); });
  input.addEventListener('focus', propose);
  input.addEventListener('click', propose);
  input.addEventListener('blur', close);
  input.addEventListener('search', () => { if (input.value === '') form.requestSubmit(); });
  input.addEventListener('keydown', (e) => {
    if (list.hidden) { if (e.key === 'ArrowDown') { e.preventDefault(); propose(); } return; }
    const n = offer.items.length;
    if (e.key === 'ArrowDown') mark((active + 1) % n);
    else if (e.key === 'ArrowUp') mark((active + n - (active < 0 ? 0 : 1)) % n);
    else if (e.key === 'Escape') close();
    else if (e.key === 'Tab' && !e.shiftKey) take(Math.max(active, 0));
    else if (e.key === 'Enter' && active >= 0) take(active);
    else return;
    e.preventDefault();
    e.stopPropagation();
  });
  form.addEventListener('submit', async (e) => {
    e.preventDefault();
    close();
    const q = input.value.trim();
    try {
      await ask('explain', { q });
      complain('');
    } catch (error) {
      const place = error.place;
      if (error.status === 400) {
        complain(error.message.replace(/^q: /, ''));
        if (place) {
          input.focus();
          input.setSelectionRange(units(input.value, place.offset + octets(input.value.match(/^\s*/)[0])), units(input.value, place.offset + place.length + octets(input.value.match(/^\s*/)[0])));
          close();
        }
        return;
      }
    }
    done(q);
  });

  /** The returned function shows the filter in effect. */
  return (q) => {
    if (document.activeElement !== input) { input.value = q; complain(''); }
    form.classList.toggle('on', q !== '');
  };
}
