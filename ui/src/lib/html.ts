// The one place where strings become HTML.  Trusted Types let no other through.
import DOMPurify, { type Config } from 'dompurify';

type Policy = { createHTML(html: string): unknown; createScriptURL(url: string): unknown };
type Factory = { createPolicy(name: string, rules: Record<string, (text: string) => string>): Policy };
const factory = (globalThis as { trustedTypes?: Factory }).trustedTypes;

// Scripts: only our own service worker, by its name.
const own = factory?.createPolicy('understudy', {
  createScriptURL: (url) => {
    if (url !== '/sw.js') throw new TypeError(url);
    return url;
  },
});
export const workerUrl = (): string => (own?.createScriptURL('/sw.js') ?? '/sw.js') as string;

// Whatever a library hands to innerHTML (the editor's undo) goes through the same allow-list.
factory?.createPolicy('default', { createHTML: (html) => DOMPurify.sanitize(html, EDITOR) as string });

// The app's policy reports each style attribute that is parsed in its realm; a hidden frame's policy lets them be.
let quiet = DOMPurify;
type Realm = Parameters<typeof DOMPurify>[0];
export function prepare(): void {
  const frame = document.createElement('iframe');
  frame.hidden = true;
  frame.title = 'parser';
  frame.setAttribute('sandbox', 'allow-same-origin');
  frame.src = '/message.html';
  frame.onload = () => {
    const purify = frame.contentDocument?.querySelector('style') ? DOMPurify(frame.contentWindow as unknown as Realm) : null;
    if (purify?.isSupported) quiet = purify;
  };
  document.body.append(frame);
}
const sanitised = (html: string, config: Config): DocumentFragment => quiet.sanitize(html, { ...config, RETURN_DOM_FRAGMENT: true }) as DocumentFragment;

const MAIL: Config = {
  FORBID_TAGS: ['style', 'form', 'input', 'button', 'select', 'textarea', 'svg', 'math', 'video', 'audio', 'iframe', 'object', 'template', 'dialog'],
  FORBID_ATTR: ['srcset', 'background', 'ping', 'id', 'name', 'popover', 'contenteditable', 'tabindex', 'autofocus', 'accesskey'],
  ALLOW_DATA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:(?:https?|mailto|tel|cid):|data:image\/(?:png|jpe?g|gif|webp);|[^a-z]|[a-z+.-]+(?:[^a-z+.:-]|$))/i,
};
const EDITOR: Config = {
  ALLOWED_TAGS: ['a', 'b', 'strong', 'i', 'em', 'u', 's', 'del', 'code', 'pre', 'br', 'div', 'p', 'ul', 'ol', 'li', 'blockquote', 'h1', 'h2', 'h3', 'h4', 'img', 'span', 'sub', 'sup', 'table', 'thead', 'tbody', 'tr', 'td', 'th', 'hr', 'input'],
  // `input`: the editor keeps the selection in its undo steps with two hidden ones.
  ALLOWED_ATTR: ['href', 'src', 'alt', 'width', 'height', 'data-cid', 'type', 'id', 'colspan', 'rowspan', 'dir'],
  ALLOWED_URI_REGEXP: /^(?:(?:https?|mailto|tel|cid|blob):|data:image\/(?:png|jpe?g|gif|webp);|[^a-z]|[a-z+.-]+(?:[^a-z+.:-]|$))/i,
};

export interface ReadyMail {
  fragment: DocumentFragment;
  /** Does it want images from elsewhere? */
  remote: boolean;
  /** Does it bring colours of its own, so that it needs white paper? */
  paper: boolean;
  cids: string[];
}

/** A message's HTML for its frame: links open elsewhere, images of other servers and of parts wait in data-…
    It is parsed in the frame's realm, where its policy lets style attributes be. */
export function readyMail(html: string, showRemote: boolean, realm: Window): ReadyMail {
  const purify = DOMPurify(realm as unknown as Realm);
  const fragment = purify.sanitize(html, { ...MAIL, RETURN_DOM_FRAGMENT: true }) as DocumentFragment;
  const out: ReadyMail = { fragment, remote: false, paper: false, cids: [] };
  for (const link of fragment.querySelectorAll('a[href], area[href]')) {
    // A relative link would lead into the app.
    if (!/^(?:https?:|mailto:|tel:)/i.test(link.getAttribute('href') ?? '')) link.removeAttribute('href');
    link.setAttribute('target', '_blank');
    link.setAttribute('rel', 'noopener noreferrer');
  }
  for (const image of fragment.querySelectorAll('img')) {
    const src = image.getAttribute('src') ?? '';
    if (/^cid:/i.test(src)) {
      image.removeAttribute('src');
      image.dataset.cid = src.slice(4);
      out.cids.push(src.slice(4));
    } else if (/^https?:/i.test(src)) {
      out.remote = true;
      if (showRemote) image.setAttribute('src', src.replace(/^http:/i, 'https:'));
      else {
        image.removeAttribute('src');
        image.dataset.blocked = '';
      }
    } else if (!/^data:image\//i.test(src)) image.removeAttribute('src');
  }
  for (const element of fragment.querySelectorAll<HTMLElement>('[style], [bgcolor], [color]')) {
    const style = element.getAttribute('style') ?? '';
    if (/url\s*\(/i.test(style)) {
      out.remote ||= /url\s*\(\s*['"]?https?:/i.test(style);
      element.setAttribute('style', style.replace(/[\w-]+\s*:[^;]*url\s*\([^)]*\)[^;]*;?/gi, ''));
    }
    if (element.hasAttribute('bgcolor') || element.hasAttribute('color') || /(^|;|\s)(color|background(-color)?)\s*:/i.test(style)) out.paper = true;
  }
  return out;
}

export const editorFragment = (html: string): DocumentFragment => {
  const fragment = sanitised(html, EDITOR);
  for (const stray of fragment.querySelectorAll('input:not([type="hidden"])')) stray.remove();
  return document.importNode(fragment, true);
};

/** For a quote that is sent on: clean, and as a string again. */
export function cleanHtml(html: string): string {
  return quiet.sanitize(html, { ...MAIL, RETURN_TRUSTED_TYPE: false }) as unknown as string;
}

export const escapeHtml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** Plain text as HTML, with its links and its quotes. */
export function textToHtml(text: string): string {
  const lines = escapeHtml(text.replace(/\r\n/g, '\n').trimEnd()).split('\n');
  let depth = 0;
  let out = '';
  for (const line of lines) {
    const quote = /^(?:&gt; ?)+/.exec(line)?.[0] ?? '';
    const level = (quote.match(/&gt;/g) ?? []).length;
    while (depth < level) (out += '<blockquote>'), (depth += 1);
    while (depth > level) (out += '</blockquote>'), (depth -= 1);
    const rest = line.slice(quote.length).replace(/\bhttps?:\/\/[^\s<>"]+[^\s<>".,;:!?)\]']/g, '<a href="$&">$&</a>');
    out += `<div>${rest || '<br>'}</div>`;
  }
  return out + '</blockquote>'.repeat(depth);
}

/** HTML as plain text: the other half of multipart/alternative. */
export function htmlToText(html: string): string {
  const root = sanitised(html, MAIL);
  const block = /^(DIV|P|LI|BLOCKQUOTE|H[1-6]|TR|UL|OL|PRE|TABLE|HR)$/;
  const walk = (node: Node, quote: string): string => {
    if (node.nodeType === Node.TEXT_NODE) return (node.textContent ?? '').replace(/\s+/g, ' ');
    if (node.nodeName === 'BR') return '\n';
    if (node.nodeName === 'HR') return '\n---\n';
    let inner = '';
    for (const child of node.childNodes) {
      const piece = walk(child, quote);
      if (block.test(child.nodeName) && inner && !inner.endsWith('\n')) inner += '\n';
      inner += piece;
      if (block.test(child.nodeName) && !inner.endsWith('\n')) inner += '\n';
    }
    if (node.nodeName === 'LI') return `- ${inner.trim()}`;
    if (node.nodeName === 'BLOCKQUOTE') return inner.trimEnd().split('\n').map((line) => `> ${line}`).join('\n');
    if (node.nodeName === 'A') {
      const href = (node as Element).getAttribute('href') ?? '';
      return href && href !== inner && !href.startsWith('mailto:') && inner.trim() ? `${inner} <${href}>` : inner;
    }
    return inner;
  };
  return walk(root, '').replace(/[ \t]+\n/g, '\n').replace(/\n{3,}/g, '\n\n').trim();
}

/** A draft's HTML apart again: what was written, and the last quote at its end, which stays sealed. */
export function splitQuote(html: string): { written: string; quote: string } {
  const fragment = sanitised(html, MAIL);
  const root = fragment.ownerDocument.createElement('div');
  root.append(fragment);
  let last = root.lastElementChild;
  if (last?.nodeName === 'DIV' && last.lastElementChild?.nodeName === 'BLOCKQUOTE' && root.children.length === 1) last = last.lastElementChild;
  if (last?.nodeName !== 'BLOCKQUOTE') return { written: root.innerHTML, quote: '' };
  const intro = last.previousElementSibling;
  const box = root.ownerDocument.createElement('div');
  if (intro && /:\s*$/.test(intro.textContent ?? '')) box.append(intro);
  box.append(last);
  return { written: root.innerHTML, quote: box.innerHTML };
}
