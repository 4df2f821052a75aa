// Elements are made here and nowhere else. Text from the network reaches the
// page as text nodes only.

const SVG = 'http://www.w3.org/2000/svg';

function fill(e, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || (value === false && !name.startsWith('aria-'))) continue;
    if (name.startsWith('on')) e.addEventListener(name.slice(2), value);
    else e.setAttribute(name, value === true && !name.startsWith('aria-') ? '' : String(value));
  }
  e.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false).map((c) => (c instanceof Node ? c : String(c))));
  return e;
}

/** h('p', {class: 'x', onclick: f}, 'text', child) */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const svg = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);
export const $ = (id) => document.getElementById(id);

const shown = new WeakMap();

/**
 * show puts what build() makes into an element, only if data has changed since
 * the last time, so that a refresh does not flicker. Focus and scroll stay.
 */
export function show(element, data, build) {
  const key = JSON.stringify(data);
  if (shown.get(element) === key) return;
  shown.set(element, key);
  const active = document.activeElement;
  const mark = element.contains(active) ? active.closest('[data-key]')?.dataset.key : undefined;
  const [top, left] = [element.scrollTop, element.scrollLeft];
  element.replaceChildren(...[build()].flat(Infinity).filter(Boolean));
  element.scrollTop = top;
  element.scrollLeft = left;
  if (mark !== undefined) {
    for (const e of element.querySelectorAll('[data-key]')) {
      if (e.dataset.key === mark) { e.focus({ preventScroll: true }); break; }
    }
  }
}

/** bar draws parts, [{share: 0 to 1, class}], side by side. */
export function bar(parts, label) {
  let x = 0;
  return svg('svg', { class: 'bar', viewBox: '0 0 1000 10', preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    parts.map((p) => {
      const width = Math.max(Math.min(p.share, 1), 0) * 1000;
      const rect = svg('rect', { class: p.class, x, y: 0, width: width > 0 ? Math.max(width, 4) : 0, height: 10 });
      x += width;
      return rect;
    }));
}

/** table from columns [{title, class, cell(row)}]. */
export function table(caption, columns, rows, props) {
  return h('table', {}, h('caption', { class: 'sr' }, caption),
    h('thead', {}, h('tr', {}, columns.map((c) => h('th', { scope: 'col', class: c.class }, c.title)))),
    h('tbody', {}, rows.map((r) => h('tr', props ? props(r) : {}, columns.map((c) => h('td', { class: c.class }, c.cell(r)))))));
}
