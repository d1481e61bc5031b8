import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { Pbkdf2Queue } from '../../src/auth/pbkdf2-queue.ts';
import {
  authMessageOf,
  clientProof,
  recoverClientKey,
  scramKeysOf,
  serverSignature,
  storedKeyOf,
} from '../../src/auth/scram.ts';
import {
  parseClientFinal,
  parseClientFirst,
  parseServerFinal,
  parseServerFirst,
  serverFirst,
} from '../../src/auth/scram-messages.ts';
import { withSeed } from '../support/random.ts';

/** The exchange printed in RFC 7677, section 3. */
const rfc = {
  password: 'pencil',
  clientFirst: 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO',
  serverFirst: 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
  clientFinal:
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  serverFinal: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
};

describe('the exchange of RFC 7677', () => {
  test('proof and signature come out as printed', async () => {
    const first = parseClientFirst(rfc.clientFirst);
    const challenge = parseServerFirst(rfc.serverFirst);
    const final = parseClientFinal(rfc.clientFinal);
    if (first === null || challenge === null || final === null) throw new Error('a vector does not parse');
    const { salt, iterations } = challenge;
    const keys = scramKeysOf(await new Pbkdf2Queue().derive(Buffer.from(rfc.password), salt, iterations));
    const authMessage = authMessageOf(first.bare, rfc.serverFirst, final.withoutProof);
    expect(clientProof(keys.clientKey, authMessage)).toEqual(final.proof);
    expect(serverSignature(keys.serverKey, authMessage)).toEqual(parseServerFinal(rfc.serverFinal));
    expect(recoverClientKey(final.proof, keys.storedKey, authMessage)).toEqual(keys.clientKey);
    expect(storedKeyOf(keys.clientKey)).toEqual(keys.storedKey);
  });

  test('its messages are taken apart', () => {
    expect(parseClientFirst(rfc.clientFirst)).toEqual({
      gs2Header: 'n,,',
      flag: 'n',
      bindingType: null,
      bare: 'n=user,r=rOprNGfwEbeRWgbNEkqO',
      nonce: 'rOprNGfwEbeRWgbNEkqO',
    });
    expect(parseClientFinal(rfc.clientFinal)).toMatchObject({
      channelBinding: Buffer.from('n,,'),
      nonce: 'rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
    });
  });

  test('its challenge is written as printed', () => {
    const challenge = parseServerFirst(rfc.serverFirst);
    expect(challenge === null ? null : serverFirst(challenge)).toBe(rfc.serverFirst);
  });
});

describe('client-first-message', () => {
  test.each([
    ['n,,n=,r=abc', 'n,,'],
    ['y,,n=,r=abc', 'y,,'],
    ['n,,n=*,r=abc', 'n,,'],
    ['n,,n=a=2Cb,r=abc', 'n,,'],
    ['n,,n=\u00e9,r=abc', 'n,,'],
    ['n,,n=u,r=abc,x=extension', 'n,,'],
    ['p=tls-server-end-point,,n=,r=abc', 'p=tls-server-end-point,,'],
    ['p=tls-unique,,n=,r=abc', 'p=tls-unique,,'],
  ])('%j is taken', (text, gs2Header) => {
    expect(parseClientFirst(text)).toMatchObject({ gs2Header, nonce: 'abc' });
  });

  test.each([
    ['', 'nothing'],
    ['p=,,n=,r=abc', 'channel binding without a name'],
    ['p,,n=,r=abc', 'channel binding without a value'],
    [`p=${'a'.repeat(65)},,n=,r=abc`, 'channel binding by too long a name'],
    ['p=a/b,,n=,r=abc', 'channel binding by what is no name'],
    ['n,a=admin,n=,r=abc', 'an authorization identity'],
    ['x,,n=,r=abc', 'an unknown flag'],
    ['n,n=,r=abc', 'a missing comma'],
    ['n,,m=ext,n=,r=abc', 'a mandatory extension in front'],
    ['n,,n=,r=abc,m=ext', 'a mandatory extension behind'],
    ['n,,r=abc', 'no name'],
    ['n,,n=', 'no nonce'],
    ['n,,n=,r=', 'an empty nonce'],
    ['n,,n=,r=a b', 'a space in the nonce'],
    ['n,,n=,r=a\0b', 'a zero byte in the nonce'],
    ['n,,n=u\0,r=ab', 'a zero byte in the name'],
    ['n,,n=,r=abc\0', 'a zero byte at the end'],
    ['n,,n=,r=\u00e9', 'a nonce beyond ASCII'],
    [`n,,n=,r=${'a'.repeat(1025)}`, 'a nonce beyond the bound'],
    [`n,,n=${'u'.repeat(4096)},r=abc`, 'a message beyond the bound'],
    ['n,,n=,r=abc,', 'an empty extension'],
    ['c=biws,r=abc,p=AAAA', 'the other message of a client'],
  ])('%j is refused: %s', (text) => {
    expect(parseClientFirst(text)).toBeNull();
  });
});

describe('client-final-message', () => {
  const proof = Buffer.alloc(32, 5).toString('base64');

  test('extensions stand between nonce and proof and are signed', () => {
    expect(parseClientFinal(`c=biws,r=abc,x=1,p=${proof}`)).toMatchObject({
      withoutProof: 'c=biws,r=abc,x=1',
    });
  });

  test.each([
    ['', 'nothing'],
    [`r=abc,p=${proof}`, 'no channel binding'],
    [`c=biws,p=${proof}`, 'no nonce'],
    [`c=biws,r=,p=${proof}`, 'an empty nonce'],
    ['c=biws,r=abc', 'no proof'],
    ['c=biws,r=abc,p=', 'an empty proof'],
    [`c=biws,r=abc,p=${Buffer.alloc(31).toString('base64')}`, 'a short proof'],
    [`c=biws,r=abc,p=${Buffer.alloc(33).toString('base64')}`, 'a long proof'],
    [`c=biws,r=abc,p=${proof.replace('=', '')}`, 'a proof without padding'],
    [`c=biws,r=abc,p=${proof},x=1`, 'something behind the proof'],
    [`c=bi s,r=abc,p=${proof}`, 'broken base64'],
    [`c=biws,r=abc,m=1,p=${proof}`, 'a mandatory extension'],
    [`c=biws,r=abc,p=${proof}\0`, 'a zero byte'],
  ])('%j is refused: %s', (text) => {
    expect(parseClientFinal(text)).toBeNull();
  });
});

describe('server-first-message', () => {
  test.each([
    ['r=abc,s=c2FsdA==,i=1', 'one iteration'],
    ['r=abc,s=c2FsdA==,i=2147483647', 'the highest count'],
    ['r=abc,s=c2FsdA==,i=4096,x=1', 'an extension'],
    [`r=abc,s=${Buffer.alloc(40, 3).toString('base64')},i=1`, 'trap: a SCRAM salt of 40 bytes, not 16'],
  ])('%j is taken: %s', (text) => {
    expect(parseServerFirst(text)).toMatchObject({ nonce: 'abc' });
  });

  test.each([
    ['', 'nothing'],
    ['r=abc,s=c2FsdA==', 'no count'],
    ['r=abc,s=,i=1', 'no salt'],
    ['r=abc,s=c2Fsd,i=1', 'broken base64'],
    ['r=abc,s=c2FsdA==,i=0', 'no iterations'],
    ['r=abc,s=c2FsdA==,i=-1', 'a negative count'],
    ['r=abc,s=c2FsdA==,i=2147483648', 'trap: a SCRAM iteration count that overflows'],
    ['r=abc,s=c2FsdA==,i=1x', 'garbage in the count'],
    ['m=x,r=abc,s=c2FsdA==,i=1', 'a mandatory extension'],
    ['r=,s=c2FsdA==,i=1', 'an empty nonce'],
    [`r=${'a'.repeat(2049)},s=c2FsdA==,i=1`, 'a nonce beyond the bound'],
    [`r=abc,s=${Buffer.alloc(1026).toString('base64')},i=1`, 'a salt beyond the bound'],
    ['r=abc,s=c2FsdA==,i=1,x=\ufffd', 'characters beyond ASCII'],
    ['r=abc\0,s=c2FsdA==,i=1', 'a zero byte'],
    ['e=other-error', 'an error'],
  ])('%j is refused: %s', (text) => {
    expect(parseServerFirst(text)).toBeNull();
  });
});

test('signatures are HMACs, whatever the text and its length, one behind the other', () =>
  withSeed(async (random) => {
    for (let i = 0; i < 500; i++) {
      const length =
        random.pick([0, 1, 55, 56, 63, 64, 65, 200, 12_000, 16_320, 16_321, 50_000]) + random.below(3);
      const text = Buffer.from(Array.from({ length }, () => random.below(256))).toString('latin1');
      const key = Buffer.from(Array.from({ length: 32 }, () => random.below(256)));
      const expected = createHmac('sha256', key).update(text, 'latin1').digest();
      expect(serverSignature(key, text)).toEqual(expected);
    }
  }));

test('a server-final-message is a 32-byte signature or nothing', () => {
  const signature = Buffer.alloc(32, 8);
  expect(parseServerFinal(`v=${signature.toString('base64')}`)).toEqual(signature);
  for (const text of ['', 'v=', 'e=invalid-proof', 'v=AAAA', `v=${Buffer.alloc(33).toString('base64')}`]) {
    expect(parseServerFinal(text)).toBeNull();
  }
});
