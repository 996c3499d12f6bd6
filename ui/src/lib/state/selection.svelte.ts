// Which rows of the list are meant: the chosen ones, or the one with the focus.
import { SvelteSet } from 'svelte/reactivity';
import type { Id } from '../jmap/types';
import { mail } from './mail.svelte';
import { route } from './route.svelte';

class Selection {
  chosen = new SvelteSet<Id>();
  /** The row that the keyboard is at. */
  at = $state(0);
  private anchor = 0;
  private id: Id | undefined;

  /** The list has changed: the keyboard stays at its message, not at its place. */
  follow(): void {
    const list = mail.list;
    if (!list) return;
    const now = this.id ? list.ids.indexOf(this.id) : -1;
    if (now >= 0) this.at = now;
    else this.touch(Math.max(0, Math.min(this.at, list.total - 1)));
  }

  get current(): Id | undefined {
    return mail.list?.ids[this.at];
  }

  meant(): Id[] {
    if (route.page !== 'mail' && route.page !== 'search') return [];
    const chosen = [...this.chosen].filter((id) => mail.emails.has(id));
    if (chosen.length) return chosen;
    const open = route.item && mail.list ? mail.list.indexOf(route.item) : -1;
    const one = open >= 0 ? mail.list?.ids[open] : route.item ? mail.conversation(route.item).at(-1)?.id : this.current;
    return one ? [one] : [];
  }

  clear(): void {
    this.chosen.clear();
  }

  toggle(id: Id | undefined): void {
    if (!id) return;
    if (!this.chosen.delete(id)) this.chosen.add(id);
    this.anchor = mail.list?.ids.indexOf(id) ?? 0;
  }

  /** Shift: everything between the last one touched and this one. */
  extend(to: number): void {
    const [first, last] = this.anchor < to ? [this.anchor, to] : [to, this.anchor];
    this.chosen.clear();
    for (const id of mail.list?.ids.slice(first, last + 1) ?? []) if (id) this.chosen.add(id);
  }

  /** The keyboard is there; where a range began stays. */
  here(index: number): void {
    this.at = index;
    this.id = mail.list?.ids[index];
  }

  touch(index: number): void {
    this.here(index);
    this.anchor = index;
  }

  /** To the next or previous conversation; opens it where one is open. */
  step(by: number): void {
    const list = mail.list;
    if (!list) return;
    const open = route.item ? list.indexOf(route.item) : -1;
    const next = Math.max(0, Math.min(list.total - 1, (open >= 0 ? open : this.at) + by));
    this.touch(next);
    list.ensure(next, next);
    const email = list.ids[next] && mail.emails.get(list.ids[next]!);
    if (open >= 0 && email) route.go(route.page, route.place, email.threadId, true);
    this.focusRow();
  }

  focusRow(): void {
    requestAnimationFrame(() => document.querySelector<HTMLElement>('[role="row"][tabindex="0"]')?.focus());
  }

  leave(): void {
    route.go(route.page, route.place);
    this.focusRow();
  }

  /** Does something that makes rows go, and opens what comes next. */
  after(rows: Id[], act: () => Promise<void>): void {
    const list = mail.list;
    const open = route.item;
    const index = open && list ? list.indexOf(open) : -1;
    void act();
    this.clear();
    if (!list) return;
    if (open && index >= 0 && !list.has(open)) {
      const next = list.ids[Math.min(index, list.ids.length - 1)];
      const email = next && mail.emails.get(next);
      const phone = innerWidth <= 760;
      route.go(route.page, route.place, email && !phone ? email.threadId : '', true);
      this.touch(Math.max(0, Math.min(index, list.ids.length - 1)));
    } else this.touch(Math.max(0, Math.min(this.at, list.ids.length - 1)));
    if (rows.length) this.focusRow();
  }
}

export const selection = new Selection();
