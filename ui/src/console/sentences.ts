// The program's sentences about what is wrong come in English; German ones are known again by their words,
// as in src/ops/status/german.rs, whose list this is.  What is not known stays as it is.
import list from 'virtual:sentences';
import { language } from '../lib/i18n/index.svelte';

/** Nesting of sentences in sentences that is followed. */
const DEPTH_MAX = 4;

/** As it stands alone: with a large letter, unless it begins with a name. */
export function sentence(text: string): string {
  const said = language.current === 'de' ? german(text) : text;
  return /^(vrid|console|node|understudy) /.test(said) ? said : said.charAt(0).toUpperCase() + said.slice(1);
}

export function german(text: string, depth = DEPTH_MAX): string {
  if (!depth) return text;
  for (const [english, translated] of list) {
    const words = fill(english, text);
    if (!words) continue;
    const [first, ...parts] = translated.split('{}');
    return first + parts.map((part, at) => german(words[at] ?? '', depth - 1) + part).join('');
  }
  const at = text.indexOf('; ');
  return at < 0 ? text : `${german(text.slice(0, at), depth - 1)}; ${german(text.slice(at + 2), depth - 1)}`;
}

/** What stands for each `{}` of `template` in `text`; null where they do not fit. */
function fill(template: string, text: string): string[] | null {
  const [first = '', ...parts] = template.split('{}');
  if (!text.startsWith(first)) return null;
  let rest = text.slice(first.length);
  const words: string[] = [];
  for (const [at, part] of parts.entries()) {
    const last = at === parts.length - 1;
    const found = last ? (rest.endsWith(part) ? rest.length - part.length : -1) : rest.indexOf(part);
    if (found < 0) return null;
    words.push(rest.slice(0, found));
    rest = last ? '' : rest.slice(found + part.length);
  }
  return rest ? null : words;
}
