// The runbooks of docs/runbook, as they are written: read at night, they must be where the trouble is shown.
const files = import.meta.glob<string>('../../../docs/runbook/*.md', { query: '?raw', import: 'default', eager: true });

export const runbook = (name: string): string | undefined => files[`../../../docs/runbook/${name}.md`];

export type Block = { kind: 'h'; text: string } | { kind: 'p'; text: string } | { kind: 'code'; text: string } | { kind: 'list'; ordered: boolean; items: string[] } | { kind: 'table'; rows: string[][] };

/** The little Markdown that they use. */
export function blocks(text: string): Block[] {
  const out: Block[] = [];
  const lines = text.split('\n');
  for (let at = 0; at < lines.length; ) {
    const line = lines[at]!;
    const take = (also: (line: string) => boolean): string[] => {
      const from = at;
      while (at < lines.length && also(lines[at]!)) at += 1;
      return lines.slice(from, at);
    };
    if (!line.trim()) at += 1;
    else if (line.startsWith('#')) out.push({ kind: 'h', text: line.replace(/^#+ /, '') }), (at += 1);
    else if (line.startsWith('```')) {
      at += 1;
      out.push({ kind: 'code', text: take((one) => !one.startsWith('```')).join('\n') });
      at += 1;
    } else if (line.startsWith('|')) {
      const rows = take((one) => one.startsWith('|')).map((row) => row.slice(1, -1).split('|').map((cell) => cell.trim()));
      out.push({ kind: 'table', rows: rows.filter((row) => !row.every((cell) => /^-*$/.test(cell))) });
    } else if (/^(\d+\.|[-*]) /.test(line)) {
      const items: string[] = [];
      for (const one of take((next) => /^(\d+\.|[-*]|\s) *\S/.test(next))) {
        if (/^(\d+\.|[-*]) /.test(one)) items.push(one.replace(/^(\d+\.|[-*]) /, ''));
        else items.push(`${items.pop() ?? ''} ${one.trim()}`);
      }
      out.push({ kind: 'list', ordered: /^\d/.test(line), items });
    } else out.push({ kind: 'p', text: take((one) => !!one.trim() && !/^(#|```|\||\d+\. |[-*] )/.test(one)).join(' ') });
  }
  return out;
}

export interface Span { kind: 'text' | 'strong' | 'em' | 'code'; text: string }
export const spans = (text: string): Span[] =>
  text.replace(/\[([^\]]*)\]\([^)]*\)/g, '*$1*').split(/(\*\*[^*]+\*\*|`[^`]+`|\*[^*\s][^*]*\*)/).filter(Boolean).map((part) =>
    part.startsWith('**') && part.length > 4 ? { kind: 'strong', text: part.slice(2, -2) } : part.startsWith('`') && part.length > 2 ? { kind: 'code', text: part.slice(1, -1) } : part.startsWith('*') && part.length > 2 ? { kind: 'em', text: part.slice(1, -1) } : { kind: 'text', text: part });
