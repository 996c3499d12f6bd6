// Keyboard shortcuts: single keys, as most webmail has them.  They can be switched off (WCAG 2.1.4), and are never
// taken from where one types.
import { archive, isStarred, isUnread, junk, markRead, star, trash } from './state/actions';
import { composer } from './state/compose.svelte';
import { mail } from './state/mail.svelte';
import { prefs } from './state/prefs.svelte';
import { route } from './state/route.svelte';
import { selection } from './state/selection.svelte';
import { toasts } from './state/toast.svelte';

class Keys {
  help = $state(false);
  /** Asks for a folder to move to. */
  moving = $state(false);
  private second = 0;

  press = (event: KeyboardEvent): void => {
    const at = event.target as HTMLElement;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !prefs.now.shortcuts) return;
    if (at.closest?.('input:not([type="checkbox"]), textarea, select, [contenteditable="true"], [role="menu"], dialog')) return;
    if (this.handle(event.key)) event.preventDefault();
  };

  private handle(key: string): boolean {
    if (Date.now() - this.second < 1_500) {
      this.second = 0;
      const role = { i: 'inbox', s: 'sent', d: 'drafts', a: 'archive', t: 'trash', j: 'junk' }[key];
      const box = role && mail.role(role);
      if (box) route.go('mail', box.id);
      else if (key === 'c') route.go('contacts');
      else return false;
      return true;
    }
    const rows = selection.meant();
    const newest = route.item ? mail.conversation(route.item).findLast((email) => !email.keywords.$draft) : undefined;
    switch (key) {
      case 'g': this.second = Date.now(); return true;
      case 'c': composer.write(); return true;
      case '/': document.querySelector<HTMLInputElement>('#search')?.focus(); return true;
      case '?': this.help = true; return true;
      case 'z': if (toasts.current?.run) toasts.act(); return true;
      case 'j': selection.step(1); return true;
      case 'k': selection.step(-1); return true;
      case 'Escape':
        if (selection.chosen.size) selection.clear();
        else if (route.item) selection.leave();
        else return false;
        return true;
      case 'r': if (newest) void composer.reply(newest, false); return !!newest;
      case 'a': if (newest) void composer.reply(newest, true); return !!newest;
      case 'f': if (newest) void composer.forward(newest); return !!newest;
    }
    if (!rows.length) return false;
    switch (key) {
      case 'e': case 'y': selection.after(rows, () => archive(rows)); return true;
      case '#': case 'Delete': selection.after(rows, () => trash(rows)); return true;
      case '!': selection.after(rows, () => junk(rows)); return true;
      case 'u':
        if (route.item) {
          void markRead(newest ? [newest.id] : rows, false);
          selection.leave();
        } else void markRead(rows, rows.some(isUnread));
        return true;
      case 's': void star(rows, !rows.every(isStarred)); return true;
      case 'v': this.moving = true; return true;
      case 'x': selection.toggle(rows.length === 1 ? rows[0] : selection.current); return true;
    }
    return false;
  }
}

export const keys = new Keys();
