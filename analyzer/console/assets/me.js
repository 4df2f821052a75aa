// Who is asking, and what changes something: with the token of the session.

const { user = '', role = 'viewer', csrf = '' } = document.body.dataset;
export const me = { user, role, may: role === 'analyst' || role === 'admin' };

/** tell sends what somebody does, and returns the answer; an error has the sentence of the API. */
export async function tell(method, path, params, body) {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(params || {})) if (v !== '' && v !== undefined) q.set(k, v);
  const headers = { Accept: 'application/json', 'X-CSRF-Token': csrf };
  if (body) headers['Content-Type'] = 'application/json';
  const resp = await fetch(`/api/v1/${path}${q.toString() ? `?${q}` : ''}`, { method, headers, body: body ? JSON.stringify(body) : undefined });
  if (resp.status === 401) { location.assign('/login'); throw new DOMException('logged out', 'AbortError'); }
  const answer = await resp.json().catch(() => ({}));
  if (!resp.ok) throw new Error((answer.errors && answer.errors.map((e) => `${e.location || ''} ${e.message}`).join('; ')) || answer.detail || `${resp.status} ${resp.statusText}`);
  return answer;
}
