// Where one is in the webmail.
// #/mail/{mailbox}/{thread}  #/search/{query}/{thread}  #/contacts/{card}  #/settings/{section}  #/connect
// #/admin/{section}/{address}
import { Router } from './router.svelte';

const PAGES = ['mail', 'search', 'scheduled', 'contacts', 'settings', 'connect', 'admin'] as const;
export type Page = (typeof PAGES)[number];
export const route = new Router<Page>(PAGES);
