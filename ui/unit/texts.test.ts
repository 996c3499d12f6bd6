import { expect, it } from 'vitest';
import { de } from '../src/lib/i18n/de';
import { en } from '../src/lib/i18n/en';

it('German is not English that was left over', () => {
  const alike = Object.keys(en).filter((key) => typeof en[key as keyof typeof en] === 'string' && en[key as keyof typeof en] === de[key as keyof typeof de]);
  expect(alike.sort()).toEqual(['android', 'apple', 'bcc', 'cc', 'ccBcc', 'code', 'details', 'in', 'junk_', 'link', 'name', 'op_in', 'passkeys', 'port', 'server', 'thunderbird'].filter((key) => key in en));
});
