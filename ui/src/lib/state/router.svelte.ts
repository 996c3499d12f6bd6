// Where one is, kept behind the # so that back and forward work and the server sees none of it: #/{page}/{place}/{item}/{part}

export class Router<Page extends string> {
  page: Page = $state()!;
  place = $state('');
  item = $state('');
  part = $state('');

  /** The first page is shown where nothing else is said. */
  constructor(private readonly pages: readonly [Page, ...Page[]]) {
    this.page = pages[0];
    this.read();
    addEventListener('hashchange', () => this.read());
  }

  private read(): void {
    const [page, place, item, part] = location.hash.replace(/^#\/?/, '').split('/').map(decode);
    this.page = this.pages.find((one) => one === page) ?? this.pages[0];
    this.place = place ?? '';
    this.item = item ?? '';
    this.part = part ?? '';
  }

  href(page: Page, place = '', item = '', part = ''): string {
    return `#/${[page, place, item, part].map(encodeURIComponent).join('/').replace(/\/+$/, '')}`;
  }

  go(page: Page, place = '', item = '', replace = false): void {
    this.to(this.href(page, place, item), replace);
  }

  to(href: string, replace = false): void {
    if (href === location.hash) return;
    if (replace) history.replaceState(null, '', href);
    else history.pushState(null, '', href);
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
