/** English and German of each entry of `SENTENCES` in `src/ops/status/german.rs`. */
export function pairs(rust: string): [string, string][] {
  const list = /static SENTENCES[^=]*= &\[(.*?)\n\];/s.exec(rust)?.[1] ?? '';
  const texts = [...list.replace(/^\s*\/\/.*$/gm, '').matchAll(/"((?:[^"\\]|\\.)*)"/gs)].map(([, text]) => text!.replace(/\\\n\s*/g, '').replace(/\\(.)/g, '$1'));
  if (texts.length < 2 || texts.length % 2) throw new Error('the sentences of status are not understood');
  return texts.flatMap((text, at) => (at % 2 ? [] : [[text, texts[at + 1]!] as [string, string]]));
}
