import { expect, it } from 'vitest';
import { de as adminDe } from '../src/admin/de';
import { en as adminEn } from '../src/admin/en';
import { de as consoleDe } from '../src/console/de';
import { en as consoleEn } from '../src/console/en';
import { de } from '../src/lib/i18n/de';
import { en } from '../src/lib/i18n/en';

type Texts = Record<string, unknown>;
const same = (english: Texts, german: Texts): string[] => Object.keys(english).filter((key) => typeof english[key] === 'string' && english[key] !== '' && english[key] === german[key]).sort();

it('German is not English that was left over', () => {
  expect(same(en, de)).toEqual(['android', 'apple', 'bcc', 'cc', 'ccBcc', 'code', 'details', 'in', 'junk_', 'link', 'name', 'op_in', 'passkeys', 'port', 'server', 'thunderbird'].filter((key) => key in en));
  expect(same(adminEn, adminDe)).toEqual(['aliasAddress', 'domain', 'domains']);
  expect(same(consoleEn, consoleDe)).toEqual(['handover', 'live', 'log', 'merge', 'operatorName', 'primary', 'standby', 'takeover', 'tenantName', 'tokenLabel', 'traffic', 'update', 'version']);
});
