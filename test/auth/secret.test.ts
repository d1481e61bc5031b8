import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { classifySecret, parseIterations } from '../../src/auth/secret.ts';
import { PENCIL_MD5, PENCIL_SCRAM } from './peers.ts';

const key = Buffer.alloc(32, 1).toString('base64');

function scram(parts: { iterations?: string; salt?: string; stored?: string; server?: string }): string {
  const { iterations = '4096', salt = 'c2FsdA==', stored = key, server = key } = parts;
  return `SCRAM-SHA-256$${iterations}:${salt}$${stored}:${server}`;
}

describe('classifySecret', () => {
  test('md5 and 32 lowercase hex digits are an md5 hash', () => {
    expect(classifySecret(PENCIL_MD5)).toEqual({ kind: 'md5', hash: PENCIL_MD5.slice(3) });
  });

  test.each([
    'md5',
    'md531DCC6C3366B993FB4B6C619E63776F2',
    `${PENCIL_MD5}0`,
    PENCIL_MD5.slice(0, -1),
    ` ${PENCIL_MD5}`,
    'MD531dcc6c3366b993fb4b6c619e63776f2',
    `${PENCIL_MD5}\n`,
  ])('%j is a plaintext password that looks like an md5 hash', (text) => {
    expect(classifySecret(text)).toEqual({ kind: 'plain', password: text });
  });

  test('a secret in the form of PostgreSQL is taken apart', () => {
    const secret = classifySecret(PENCIL_SCRAM);
    expect(secret).toMatchObject({ kind: 'scram', iterations: 4096 });
    if (secret.kind !== 'scram') return;
    expect(secret.salt.toString('base64')).toBe('ybcA72hE59q5avutIge1HQ==');
    expect(secret.storedKey.toString('base64')).toBe('+YcpjJFnQNjI3o1i2qliH53VnjQZDjZaMNC4BjszXjA=');
    expect(secret.serverKey.toString('base64')).toBe('4IjnoUDO4NyVNrvEY1IO4guy1mpmeBbsdJR0mWacxvQ=');
  });

  test.each([1, 10, 12, 16, 28, 64, 1024])('trap: a SCRAM salt of %i bytes, not 16, is taken', (bytes) => {
    const secret = classifySecret(scram({ salt: Buffer.alloc(bytes, 9).toString('base64') }));
    expect(secret).toMatchObject({ kind: 'scram', salt: Buffer.alloc(bytes, 9) });
  });

  test.each([
    ['no salt', scram({ salt: '' })],
    ['a salt beyond the bound', scram({ salt: Buffer.alloc(1025).toString('base64') })],
    ['zero iterations', scram({ iterations: '0' })],
    ['negative iterations', scram({ iterations: '-1' })],
    ['iterations of 2^31', scram({ iterations: '2147483648' })],
    ['iterations beyond 64 bits', scram({ iterations: '99999999999999999999' })],
    ['hexadecimal iterations', scram({ iterations: '0x10' })],
    ['a short stored key', scram({ stored: Buffer.alloc(31).toString('base64') })],
    ['a long server key', scram({ server: Buffer.alloc(33).toString('base64') })],
    ['base64 without padding', scram({ stored: key.slice(0, -1) })],
    ['base64 with loose bits', scram({ salt: 'c2FsdB==' })],
    ['base64 of the URL alphabet', scram({ salt: '__-_' })],
    ['another mechanism', PENCIL_SCRAM.replace('SHA-256', 'SHA-512')],
    ['text behind the keys', `${PENCIL_SCRAM}:x`],
    ['a missing key', PENCIL_SCRAM.slice(0, PENCIL_SCRAM.lastIndexOf(':'))],
  ])('a SCRAM text with %s is a plaintext password', (_what, text) => {
    expect(classifySecret(text)).toEqual({ kind: 'plain', password: text });
  });

  test('a SCRAM secret cut at any byte is a plaintext password', () => {
    for (let end = 0; end < PENCIL_SCRAM.length; end++) {
      const cut = PENCIL_SCRAM.slice(0, end);
      expect(classifySecret(cut)).toEqual({ kind: 'plain', password: cut });
    }
  });

  test('the largest iteration count of PostgreSQL is still a SCRAM secret', () => {
    expect(classifySecret(scram({ iterations: '2147483647' }))).toMatchObject({ iterations: 2147483647 });
  });

  test('no text makes it throw', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => `SCRAM-SHA-256$${text}`),
        ),
        (text) => {
          expect(['plain', 'md5', 'scram']).toContain(classifySecret(text).kind);
        },
      ),
    );
  });
});

test('trap: SCRAM iteration counts that overflow: they are decimal numbers from 1 to 2^31 - 1, without sign, space or leading zero', () => {
  expect(['1', '4096', '2147483647'].map(parseIterations)).toEqual([1, 4096, 2147483647]);
  for (const text of ['', '0', '01', '+1', ' 1', '1 ', '1.5', '1e3', '2147483648', '9'.repeat(400)]) {
    expect(parseIterations(text)).toBeNull();
  }
});
