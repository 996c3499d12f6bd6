import { number, texts } from '../lib/i18n/index.svelte';
import { de } from './de';
import { en } from './en';

export const c = texts(en, de);

/** `3 d 04:12:55` in words: the two largest units. */
export function duration(seconds: number): string {
  const parts = [[Math.floor(seconds / 86_400), 'day'], [Math.floor(seconds / 3_600) % 24, 'hour'], [Math.floor(seconds / 60) % 60, 'minute'], [Math.floor(seconds) % 60, 'second']] as const;
  const from = parts.findIndex(([count]) => count > 0);
  const shown = from < 0 ? parts.slice(3) : parts.slice(from, from + 2).filter(([count]) => count > 0);
  return shown.map(([count, unit]) => number(count, { style: 'unit', unit, unitDisplay: 'short' })).join(' ');
}
