import { date, texts } from '../lib/i18n/index.svelte';
import { de } from './de';
import { en } from './en';

export const say = texts(en, de);

export const moment = (ms: number): string => date(ms, { day: 'numeric', month: 'short', year: 'numeric', hour: 'numeric', minute: '2-digit' });
