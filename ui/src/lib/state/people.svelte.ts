// Contacts (RFC 9610) and the tenant's own people, for the contacts page and for completing addresses.
import { jmap } from '../jmap/client';
import type { Address, Card, Id } from '../jmap/types';
import { net } from '../net.svelte';
import { unique } from '../people';

export interface Suggestion {
  label: string;
  detail: string;
  addresses: Address[];
}

class People {
  cards = $state.raw<Card[]>([]);
  loaded = $state(false);
  private book: Id = '';

  async load(): Promise<void> {
    const batch = jmap.batch();
    const books = batch.add('AddressBook/get', { ids: null });
    const cards = batch.add('ContactCard/get', { ids: null });
    await batch.send();
    this.book = (books.result.list.find((book) => book.isDefault) ?? books.result.list[0])?.id ?? '';
    this.cards = [...cards.result.list].sort((a, b) => cardName(a).localeCompare(cardName(b)));
    this.loaded = true;
  }

  async save(card: Partial<Card> & { id?: Id }): Promise<Id | null> {
    const { id, ...rest } = card;
    const fresh = { '@type': 'Card', version: '1.0', uid: `urn:uuid:${crypto.randomUUID?.() ?? Date.now()}`, addressBookIds: { [this.book]: true }, ...rest };
    const answer = await jmap.one('ContactCard/set', id ? { update: { [id]: rest } } : { create: { c: fresh } }, !!id);
    if (Object.keys(answer.notCreated ?? {}).length || Object.keys(answer.notUpdated ?? {}).length) return null;
    await this.load();
    return id ?? answer.created?.c?.id ?? null;
  }

  async remove(id: Id): Promise<void> {
    await jmap.one('ContactCard/set', { destroy: [id] });
    await this.load();
  }

  members(group: Card): Card[] {
    return this.cards.filter((card) => group.members?.[card.uid]);
  }

  /** Own contacts first, then the tenant's list. */
  async suggest(typed: string): Promise<Suggestion[]> {
    const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return [];
    const fits = (text: string): boolean => words.every((word) => text.toLowerCase().split(/[\s@."<-]+/).some((part) => part.startsWith(word)) || text.toLowerCase().includes(word));
    const out: Suggestion[] = [];
    for (const card of this.cards) {
      const name = cardName(card);
      if (card.kind === 'group') {
        const addresses = this.members(card).flatMap((member) => addressesOf(member).slice(0, 1));
        if (addresses.length && fits(name)) out.push({ label: name, detail: addresses.map((one) => one.name || one.email).join(', '), addresses });
      } else for (const address of addressesOf(card)) if (fits(`${name} ${address.email}`)) out.push({ label: name, detail: address.email, addresses: [address] });
    }
    const known = out.flatMap((one) => one.addresses.map((at) => at.email));
    try {
      const people = await net.api<{ name: string; address: string }[]>('GET', `people?q=${encodeURIComponent(typed)}`);
      for (const one of unique(people.map(({ name, address }) => ({ name, email: address })), known)) out.push({ label: one.name || one.email, detail: one.email, addresses: [one] });
    } catch {
      // The own contacts have to do.
    }
    return out.slice(0, 8);
  }
}

export const cardName = (card: Card): string => card.name?.full || Object.values(card.emails ?? {})[0]?.address || '–';
export const addressesOf = (card: Card): Address[] => Object.values(card.emails ?? {}).map(({ address }) => ({ name: card.name?.full ?? null, email: address }));

export const people = new People();
