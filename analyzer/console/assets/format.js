// Numbers and times as people read them. Times are UTC, like the traffic's.

const step = (n, base, units) => {
  let i = 0;
  while (Math.abs(n) >= base && i < units.length - 1) { n /= base; i++; }
  return (i === 0 ? String(Math.round(n)) : n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2)) + units[i];
};
export const bytes = (n) => step(n, 1000, [' B', ' kB', ' MB', ' GB', ' TB', ' PB']);
export const count = (n) => (n < 10000 ? String(Math.round(n)) : step(n, 1000, ['', ' k', ' M', ' G', ' T']));
export const whole = (n) => Number(n).toLocaleString('en');
export const amount = (metric, n) => (metric.endsWith('bytes') ? bytes(n) : count(n));

/** percent never rounds up to 100 what is less, nor down to 0 what is more. */
export function percent(x) {
  if (x === null || x === undefined) return 'unknown';
  if (x === 1 || x === 0) return x * 100 + ' %';
  const p = x * 100;
  if (p > 99.99) return '> 99.99 %';
  if (p < 0.01) return '< 0.01 %';
  return (p >= 99 ? Math.floor(p * 100) / 100 : p.toFixed(p < 1 ? 2 : 1)) + ' %';
}

const two = (n) => String(n).padStart(2, '0');
const date = (t) => (t instanceof Date ? t : typeof t === 'number' ? new Date(t * 1000) : new Date(t));
export const day = (t) => { t = date(t); return `${t.getUTCFullYear()}-${two(t.getUTCMonth() + 1)}-${two(t.getUTCDate())}`; };
export const clock = (t) => { t = date(t); return `${two(t.getUTCHours())}:${two(t.getUTCMinutes())}:${two(t.getUTCSeconds())}`; };
export const minute = (t) => clock(t).slice(0, 5);
export const moment = (t) => (t ? `${day(t)} ${clock(t)}` : '–');
export const short = (t) => (t ? `${day(t).slice(5)} ${minute(t)}` : '–');
export function span(from, to) {
  if (!from || !to) return '–';
  return day(from) === day(to) ? `${day(from)} ${clock(from)} – ${clock(to)}` : `${day(from)} ${minute(from)} – ${day(to)} ${minute(to)}`;
}
export function length(s) {
  if (s < 0.001) return (s * 1e6).toFixed(0) + ' µs';
  if (s < 1) return (s * 1000).toFixed(s < 0.01 ? 1 : 0) + ' ms';
  if (s < 120) return s.toFixed(s < 10 ? 2 : 0) + ' s';
  if (s < 7200) return (s / 60).toFixed(0) + ' min';
  if (s < 172800) return (s / 3600).toFixed(s < 36000 ? 1 : 0) + ' h';
  return (s / 86400).toFixed(0) + ' d';
}
export const input = (t) => new Date(t).toISOString().slice(0, 19);
