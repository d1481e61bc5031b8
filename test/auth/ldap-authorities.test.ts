import { mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ldapAuthorities } from '../../src/auth/ldap-authorities.ts';
import { makeCertificate } from '../support/certificates.ts';
import { waitFor } from '../support/wait-for.ts';

const folder = mkdtempSync(join(tmpdir(), 'pgweir-ldap-'));
const [file, other] = [join(folder, 'ca.pem'), join(folder, 'other.pem')];
const pem = makeCertificate({ isCa: true }).certPem;
const before = process.env['LDAPTLS_CACERT'];

beforeAll(() => {
  process.env['LDAPTLS_CACERT'] = file;
  write();
  writeFileSync(other, pem);
});
afterAll(() => {
  if (before === undefined) delete process.env['LDAPTLS_CACERT'];
  else process.env['LDAPTLS_CACERT'] = before;
  rmSync(folder, { recursive: true, force: true });
});

/** Always as long, and as old by its contents. */
function write(): void {
  const day = new Date('2020-01-01T00:00:00Z');
  writeFileSync(file, pem);
  utimesSync(file, day, day);
}

test('authorities for LDAP are read once for each version of their file', async () => {
  const first = ldapAuthorities();
  expect(ldapAuthorities()).toBe(first);
  const { ctimeMs, mtimeMs, size, ino } = statSync(file);
  // Clocks of file systems go in steps.
  const isLater = (): boolean => {
    write();
    return statSync(file).ctimeMs !== ctimeMs;
  };
  await waitFor(isLater, { what: 'a later change' });
  expect(statSync(file)).toMatchObject({ mtimeMs, size, ino });
  const second = ldapAuthorities();
  expect(second).not.toBe(first);
  expect(ldapAuthorities()).toBe(second);
  process.env['LDAPTLS_CACERT'] = other;
  expect(ldapAuthorities()).not.toBe(second);
});
