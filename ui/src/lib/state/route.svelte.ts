// Where one is, kept behind the # so that back and forward work and the server sees none of it.
// #/mail/{mailbox}/{thread}  #/search/{query}/{thread}  #/contacts/{card}  #/settings/{section}  #/connect
export type Page = 'mail' | 'search' | 'scheduled' | 'contacts' | 'settings' | 'connect';
const PAGES: Page[] = ['mail', 'search', 'scheduled', 'contacts', 'settings', 'connect'];

class Route {
  page = $state<Page>('mail');
  /** Mailbox, query or section. */
  place = $state('');
  /** Thread or card. */
  item = $state('');

  constructor() {
    this.read();
    addEventListener('hashchange', () => this.read());
  }

  private read(): void {
    const [page, place, item] = location.hash.replace(/^#\/?/, '').split('/').map(decode);
    this.page = PAGES.find((one) => one === page) ?? 'mail';
    this.place = place ?? '';
    this.item = item ?? '';
  }

  href(page: Page, place = '', item = ''): string {
    return `#/${[page, place, item].map(encodeURIComponent).join('/').replace(/\/+$/, '')}`;
  }

  go(page: Page, place = '', item = '', replace = false): void {
    const to = this.href(page, place, item);
    if (to === location.hash) return;
    if (replace) history.replaceState(null, '', to);
    else history.pushState(null, '', to);
    this.read();
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}

export const route = new Route();
