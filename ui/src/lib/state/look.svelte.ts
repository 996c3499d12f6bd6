// Language and colours, kept on this device so that they are there before anybody has signed in.
import { language, type Language } from '../i18n/index.svelte';

const KEPT = 'understudy.look';

export interface Wishes {
  language: Language | null;
  theme: 'auto' | 'light' | 'dark';
  density: 'normal' | 'compact';
}

class Look {
  now = $state.raw<Wishes>({ language: null, theme: 'auto', density: 'normal' });
  dark = $state(false);
  private system = matchMedia('(prefers-color-scheme: dark)');

  constructor() {
    try {
      this.now = { ...this.now, ...(JSON.parse(localStorage.getItem(KEPT) ?? '{}') as Partial<Wishes>) };
    } catch {
      // Nothing kept.
    }
    this.system.addEventListener('change', () => this.apply());
    this.apply();
  }

  take(wishes: Partial<Wishes>): void {
    this.now = { ...this.now, ...wishes };
    localStorage.setItem(KEPT, JSON.stringify(this.now));
    this.apply();
  }

  private apply(): void {
    const { theme, density } = this.now;
    this.dark = theme === 'dark' || (theme === 'auto' && this.system.matches);
    document.documentElement.dataset.theme = this.dark ? 'dark' : 'light';
    document.documentElement.dataset.density = density;
    language.choose(this.now.language);
  }
}

export const look = new Look();
