import { describe, expect, it } from 'vitest';
import { hue, initials, looksLikeAddress, parseAddresses, unique, written } from '../src/lib/people';

describe('addresses', () => {
  it('are read as people write them', () => {
    expect(parseAddresses('Ann Lee <ann@a.example>, bob@b.example; "Weber, Jo" <jo@c.example>')).toEqual([
      { name: 'Ann Lee', email: 'ann@a.example' }, { name: null, email: 'bob@b.example' }, { name: 'Weber, Jo', email: 'jo@c.example' },
    ]);
  });
  it('that are none stay as they are', () => {
    expect(parseAddresses('nobody')).toEqual([{ name: null, email: 'nobody' }]);
    expect(looksLikeAddress('nobody')).toBe(false);
    expect(looksLikeAddress('a b@c.example')).toBe(false);
    expect(looksLikeAddress('ü@bücher.example')).toBe(true);
  });
  it('are written so that they can be read again', () => {
    const who = { name: 'Weber, Jo', email: 'jo@c.example' };
    expect(parseAddresses(written(who))).toEqual([who]);
  });
  it('are there once', () => {
    const list = [{ name: null, email: 'A@x.example' }, { name: 'a', email: 'a@x.example' }, { name: null, email: 'me@x.example' }];
    expect(unique(list, ['ME@x.example'])).toEqual([list[0]]);
  });
  it('have a face', () => {
    expect(initials({ name: 'Mara von Lindner', email: '' })).toBe('ML');
    expect(initials({ name: null, email: 'it@x.example' })).toBe('I');
    expect(initials(undefined)).toBe('?');
    expect(hue({ name: null, email: 'A@x' })).toBe(hue({ name: 'b', email: 'a@X' }));
  });
});
