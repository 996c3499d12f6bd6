// One calm line at the bottom: what was done, and a way back.
export interface Toast {
  text: string;
  action?: string | undefined;
  run?: (() => void) | undefined;
  /** When it goes by itself; a counting one shows the time left. */
  until: number;
  counting: boolean;
}

const STAY_MS = 7_000;

class Toasts {
  current = $state.raw<Toast | null>(null);
  private timer: ReturnType<typeof setTimeout> | undefined;

  show(text: string, action?: string, run?: () => void, stay = STAY_MS, counting = false): void {
    clearTimeout(this.timer);
    this.current = { text, action, run, until: Date.now() + stay, counting };
    this.timer = setTimeout(() => (this.current = null), stay);
  }

  act(): void {
    const run = this.current?.run;
    this.hide();
    run?.();
  }

  hide(): void {
    clearTimeout(this.timer);
    this.current = null;
  }
}

export const toasts = new Toasts();
