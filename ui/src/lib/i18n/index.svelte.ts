// Words for people.  English is the measure: a key that German lacks does not compile.
import { de } from './de';
import { en } from './en';

export type Language = 'de' | 'en';
export type Key = keyof typeof en;

const own = (): Language => (navigator.language.toLowerCase().startsWith('de') ? 'de' : 'en');

class Language_ {
  current = $state<Language>(own());
  /** Null is what the browser says. */
  choose(language: Language | null): void {
    this.current = language ?? own();
    document.documentElement.lang = this.current;
  }
}

export const language = new Language_();

type Words = Record<string, string | ((...args: never[]) => string)>;
type Args<T> = T extends (...args: infer A) => string ? A : [];

/** A function that says a catalogue's texts in the language of now. */
export function texts<C extends Words>(en: C, de: C): <K extends keyof C>(key: K, ...args: Args<C[K]>) => string {
  const catalogues = { de, en };
  return (key, ...args) => {
    const text = catalogues[language.current][key] as string | ((...args: unknown[]) => string);
    return typeof text === 'function' ? text(...args) : text;
  };
}

/** What all parts and the webmail say. */
export const t = texts(en, de);

/** The browser's own variant of the language, so that times look as they do elsewhere on the device. */
const locale = (): string => navigator.languages.find((one) => one.toLowerCase().startsWith(language.current)) ?? language.current;

const dates = new Map<string, Intl.DateTimeFormat>();
export function date(value: string | number | Date, options: Intl.DateTimeFormatOptions): string {
  const key = language.current + JSON.stringify(options);
  let format = dates.get(key);
  if (!format) dates.set(key, (format = new Intl.DateTimeFormat(locale(), options)));
  return format.format(new Date(value));
}

export const time = (value: string | number | Date): string => date(value, { timeStyle: 'short' });
/** For the head of a message. */
export const middleDate = (value: string): string => date(value, { day: 'numeric', month: 'short', hour: 'numeric', minute: '2-digit', ...(new Date(value).getFullYear() !== new Date().getFullYear() && { year: 'numeric' }) });

/** As short as a list wants it: the time today, the weekday this week, else the day. */
export function shortDate(value: string, now = new Date()): string {
  const then = new Date(value);
  const days = (now.getTime() - then.getTime()) / 864e5;
  if (then.toDateString() === now.toDateString()) return time(then);
  if (days >= 0 && days < 6) return date(then, { weekday: 'short' });
  if (then.getFullYear() === now.getFullYear()) return date(then, { day: 'numeric', month: 'short' });
  return date(then, { day: '2-digit', month: '2-digit', year: 'numeric' });
}

export const longDate = (value: string | Date): string =>
  date(value, { weekday: 'short', day: 'numeric', month: 'long', year: 'numeric', hour: 'numeric', minute: '2-digit' });
export const dayDate = (value: string | Date): string => date(value, { day: 'numeric', month: 'long', year: 'numeric' });

export function bytes(value: number): string {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte'] as const;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) (value /= 1000), (unit += 1);
  const digits = unit > 0 && value < 10 ? 1 : 0;
  return new Intl.NumberFormat(language.current, { style: 'unit', unit: units[unit]!, unitDisplay: unit ? 'short' : 'long', maximumFractionDigits: digits }).format(value);
}

export const number = (value: number, options: Intl.NumberFormatOptions = {}): string => new Intl.NumberFormat(language.current, options).format(value);
