/** What was asked for, and how to ask again. */
export class Asked<T> {
  value = $state.raw<T | null>(null);
  error = $state.raw<unknown>(null);

  constructor(private readonly get: () => Promise<T>) {
    void this.again();
  }

  async again(): Promise<void> {
    try {
      this.value = await this.get();
      this.error = null;
    } catch (error) {
      this.error = error;
    }
  }
}

/** What a list shows at once; the rest is counted. */
export const SHOWN = 200;

export const fits = (words: string, ...texts: string[]): boolean => {
  const text = texts.join(' ').toLowerCase();
  return words.toLowerCase().split(/\s+/).every((word) => text.includes(word));
};
