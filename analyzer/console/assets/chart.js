// A chart of stacked steps, drawn as SVG: one path for each application.
import { h, svg } from './dom.js';
import { amount, day, minute, clock } from './format.js';

const HEIGHT = 240, LEFT = 62, RIGHT = 8, TOP = 8, BOTTOM = 26;

function ticks(max) {
  if (max <= 0) return [0, 1];
  const raw = max / 4, unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * unit).find((s) => s >= raw);
  const list = [];
  for (let v = 0; v < max + step * 0.999; v += step) list.push(v);
  return list;
}

function timeStep(seconds, width) {
  const wanted = seconds / Math.max(width / 110, 1);
  return [1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000].find((s) => s >= wanted) || 31536000;
}

/** Chart keeps itself in box; select(from, to) is told what was dragged over. */
export class Chart {
  constructor(box, select) {
    this.box = box;
    this.select = select;
    this.tip = h('div', { class: 'tip', hidden: true });
    this.root = svg('svg', { class: 'plot', tabindex: 0, role: 'img', height: HEIGHT });
    box.append(this.root, this.tip);
    this.root.addEventListener('pointermove', (e) => this.point(e));
    this.root.addEventListener('pointerleave', () => this.at(-1));
    this.root.addEventListener('pointerdown', (e) => { if (e.button === 0) this.from = this.index(e); });
    this.root.addEventListener('pointerup', (e) => this.dropped(e));
    this.root.addEventListener('keydown', (e) => this.key(e));
    this.root.addEventListener('blur', () => this.at(-1));
    new ResizeObserver(() => this.draw()).observe(box);
  }

  set(data) {
    this.data = data;
    this.draw();
  }

  draw() {
    const { data } = this;
    const width = this.box.clientWidth;
    if (!data || width < 50) return;
    const n = data.times.length, inner = width - LEFT - RIGHT, tall = HEIGHT - TOP - BOTTOM;
    const sums = data.times.map((_, i) => data.series.reduce((a, s) => a + s.values[i], 0));
    const max = sums.reduce((a, b) => Math.max(a, b), 0), marks = ticks(max), upper = marks[marks.length - 1];
    this.x = (i) => LEFT + (inner * i) / Math.max(n, 1);
    const y = (v) => TOP + tall * (1 - v / upper);
    const base = new Array(n).fill(0);
    const gap = inner / Math.max(n, 1) > 6 ? 1 : 0;
    const paths = data.series.map((s, k) => {
      let d = '';
      for (let i = 0; i < n; i++) {
        if (!s.values[i]) continue;
        const low = y(base[i]);
        base[i] += s.values[i];
        d += `M${this.x(i).toFixed(1)} ${low.toFixed(1)}V${y(base[i]).toFixed(1)}H${(this.x(i + 1) - gap).toFixed(1)}V${low.toFixed(1)}Z`;
      }
      return svg('path', { class: s.other ? 'cx' : `c${k % 8}`, d });
    });
    const first = data.times[0] || 0, step = timeStep(n * data.step_s, inner);
    const labels = [];
    for (let t = Math.ceil(first / step) * step; n && t < first + n * data.step_s; t += step) {
      const x = this.x((t - first) / data.step_s);
      if (x > width - 24) continue;
      const text = step >= 86400 || t % 86400 === 0 ? day(t).slice(5) : step < 60 ? clock(t) : minute(t);
      labels.push(svg('line', { class: 'tick', x1: x, x2: x, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4 }), svg('text', { class: 'axis', x, y: HEIGHT - 8, 'text-anchor': 'middle' }, text));
    }
    this.band = svg('rect', { class: 'band', y: TOP, height: tall, width: 0 });
    this.root.setAttribute('width', width);
    this.root.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    this.root.setAttribute('aria-label', `Traffic in ${n} steps, at most ${amount(data.metric, max)} in one. Arrow keys walk through the steps, Enter zooms in.`);
    this.root.replaceChildren(
      ...marks.flatMap((v) => [svg('line', { class: 'grid', x1: LEFT, x2: width - RIGHT, y1: y(v), y2: y(v) }),
        svg('text', { class: 'axis', x: LEFT - 8, y: y(v) + 4, 'text-anchor': 'end' }, amount(data.metric, v))]),
      ...paths, ...labels, this.band);
    if (this.now >= n) this.now = -1;
    this.at(this.now ?? -1);
  }

  index(e) {
    const box = this.root.getBoundingClientRect(), n = this.data ? this.data.times.length : 0;
    const i = Math.floor(((e.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)) * n);
    return Math.min(Math.max(i, 0), n - 1);
  }

  point(e) {
    if (!this.data || !this.data.times.length) return;
    this.at(this.index(e));
    if (this.from !== undefined && e.buttons & 1) this.mark(this.from, this.now);
  }

  mark(a, b) {
    const [lo, hi] = a < b ? [a, b] : [b, a];
    this.band.setAttribute('x', this.x(lo));
    this.band.setAttribute('width', this.x(hi + 1) - this.x(lo));
  }

  dropped(e) {
    if (this.from === undefined || !this.data) return;
    const to = this.index(e), from = this.from;
    this.from = undefined;
    if (from !== to) this.zoom(Math.min(from, to), Math.max(from, to));
  }

  zoom(a, b) {
    const t = this.data.times;
    this.select(t[a], t[b] + this.data.step_s);
  }

  key(e) {
    const n = this.data ? this.data.times.length : 0;
    if (!n) return;
    const now = this.now ?? -1;
    if (e.key === 'ArrowRight') this.at(Math.min(now + 1, n - 1));
    else if (e.key === 'ArrowLeft') this.at(now < 0 ? n - 1 : Math.max(now - 1, 0));
    else if (e.key === 'Escape') this.at(-1);
    else if (e.key === 'Enter' && now >= 0) this.zoom(now, now);
    else return;
    e.preventDefault();
  }

  at(i) {
    this.now = i;
    this.tip.hidden = i < 0 || !this.data;
    if (this.tip.hidden) { this.band?.setAttribute('width', 0); return; }
    this.mark(i, i);
    const { data } = this, t = data.times[i];
    const parts = data.series.map((s, k) => ({ s, k })).filter(({ s }) => s.values[i] > 0);
    this.tip.replaceChildren(h('b', {}, `${day(t)} ${clock(t)} UTC`),
      ...parts.map(({ s, k }) => h('div', {}, h('i', { class: s.other ? 'cx' : `c${k % 8}` }), h('span', {}, s.name || 'undetermined'), h('em', {}, amount(data.metric, s.values[i])))),
      parts.length ? '' : 'no traffic');
    const x = this.x(i + 0.5), width = this.box.clientWidth;
    this.tip.style.left = `${Math.min(Math.max(x + 12, 0), width - this.tip.offsetWidth)}px`;
    if (x + 12 + this.tip.offsetWidth > width) this.tip.style.left = `${Math.max(x - this.tip.offsetWidth - 12, 0)}px`;
  }
}
