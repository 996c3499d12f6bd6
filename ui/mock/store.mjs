// Objects with states as the server has them: `{fork}-{modseq}-{counter}`, changes by what is newer.
export class Objects {
  constructor(type, wake) {
    Object.assign(this, { type, wake, rows: new Map(), gone: [], modseq: 0 });
  }
  get state() {
    return `1-${this.modseq}-0`;
  }
  put(id, value, updated = true) {
    const old = this.rows.get(id);
    this.modseq += 1;
    this.rows.set(id, { value: { ...value, id }, created: old?.created ?? this.modseq, modseq: this.modseq });
    if (updated) this.wake(this.type);
    return this.rows.get(id).value;
  }
  remove(id) {
    this.modseq += 1;
    this.rows.delete(id);
    this.gone.push({ id, modseq: this.modseq });
    this.wake(this.type);
  }
  get(id) {
    return this.rows.get(id)?.value;
  }
  all() {
    return [...this.rows.values()].map((row) => row.value);
  }
  changes({ sinceState, maxChanges = 500 }) {
    const [fork, since] = String(sinceState).split('-').map(Number);
    if (fork !== 1 || !(since <= this.modseq)) return { error: 'cannotCalculateChanges' };
    const created = [], updated = [];
    const rows = [...this.rows.entries()].filter(([, row]) => row.modseq > since).sort((a, b) => a[1].modseq - b[1].modseq);
    const some = rows.slice(0, maxChanges);
    for (const [id, row] of some) (row.created > since ? created : updated).push(id);
    const hasMoreChanges = some.length < rows.length;
    const upTo = hasMoreChanges ? some.at(-1)[1].modseq : this.modseq;
    const destroyed = this.gone.filter((g) => g.modseq > since && g.modseq <= upTo).map((g) => g.id);
    return { oldState: sinceState, newState: `1-${upTo}-0`, hasMoreChanges, created, updated, destroyed };
  }
}

/** RFC 8620 5.3: applies a PatchObject. */
export function patch(object, change) {
  const out = structuredClone(object);
  for (const [path, value] of Object.entries(change)) {
    const keys = path.split('/').map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
    let at = out;
    for (const key of keys.slice(0, -1)) at = at[key] ??= {};
    const last = keys.at(-1);
    if (value === null && keys.length > 1) delete at[last];
    else at[last] = value;
  }
  return out;
}

/** RFC 8620 3.7: the value that a back-reference names. */
export function resolve(args, responses) {
  const out = {};
  for (const [key, value] of Object.entries(args)) {
    if (!key.startsWith('#')) {
      out[key] = value;
      continue;
    }
    const [, answer] = responses.find(([name, , id]) => id === value.resultOf && name === value.name) ?? [];
    if (!answer) throw { type: 'invalidResultReference' };
    out[key.slice(1)] = pointer(answer, value.path.split('/').slice(1));
  }
  return out;
}

function pointer(value, path) {
  if (!path.length) return value;
  const [head, ...rest] = path;
  if (head === '*') return value.flatMap((item) => pointer(item, rest));
  return pointer(value?.[head], rest);
}
