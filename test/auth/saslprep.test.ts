import { pbkdf2Sync } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { saslprep } from '../../src/auth/saslprep.ts';
import { scramKeysOf } from '../../src/auth/scram.ts';
import { classifySecret } from '../../src/auth/secret.ts';

const prepared = (text: string) => saslprep(Buffer.from(text)).toString('utf8');

test.each([
  ['I\u00adX', 'IX', 'a soft hyphen vanishes'],
  ['user', 'user', 'ASCII stays'],
  ['USER', 'USER', 'case is kept'],
  ['\u00aa', 'a', 'compatibility characters are normalized'],
  ['\u2168', 'IX', 'a Roman numeral is spelled out'],
  ['a\u3000b', 'a b', 'an ideographic space becomes a space'],
  ['a\u200bb\ufb01', 'a bfi', 'U+200B is a space, though it is mapped to nothing as well'],
  ['e\u0301', '\u00e9', 'a combining accent is composed'],
])('%j is prepared as %j: %s', (text, expected) => {
  expect(prepared(text)).toBe(expected);
});

test.each([
  ['\u0007\ufb01', 'a control character'],
  ['\u06271\ufb01', 'mixed directions'],
  ['\u06271', 'right-to-left text that does not end so'],
  ['1\u0627', 'right-to-left text that does not start so'],
  ['\ufb01\u{1f511}', 'a character newer than Unicode 3.2'],
  ['\ufb01\ue000', 'a private use character'],
  ['\u00ad\ufe0f', 'nothing left after mapping'],
])('%j comes back as it is: %s', (text) => {
  expect(prepared(text)).toBe(text);
});

test('right-to-left text that starts and ends so is prepared', () => {
  expect(prepared('\u06271\u00ad\u0627')).toBe('\u06271\u0627');
});

test('invalid UTF-8 comes back byte for byte', () => {
  for (const hex of ['ff', '61c3', 'c0af', 'eda080', 'f4908080', 'efac81ff']) {
    expect(saslprep(Buffer.from(hex, 'hex')).toString('hex')).toBe(hex);
  }
});

// Stored by PostgreSQL 18 for these passwords (scram_iterations = 1).
test.each([
  [
    'I\u00adX',
    '1:nTY8hBgF6NzDBzbi+V2cEw==$FGl/Ouk+ztZS8a06F84fuVL9WaKRjE+GHHcbeXzej+k=:X5m2hH1enhvPJjDzjD6OrSuFaMyxb+3OB01i+t33iDU=',
  ],
  [
    '\u2168',
    '1:aDpg21g2jel79pUmHTcqYQ==$0PJ0qXQV2xHnPQ/z+U8aajZszu5rYiBh94bH/E82OuU=:npXZdxFm5X0bLRDK4ctiDdqGjnj6SgwJn2G5imezHTw=',
  ],
  [
    'pass\u00a0word',
    '1:9EFAKDe0Q5XlppMhWKR1CA==$EN2cy9Wd0GvjJvT4L0JtGw4VLqso4XKIA3f0S7zeFAk=:yPEuHk7WgXxt4b/oC70pbnNFrnA9N/7b0NXYGYspAdc=',
  ],
  [
    '\ufb01\u{1f511}',
    '1:cySoxetr9GTRKAfccr6OSQ==$Di5lvGEkr6raNRvtu2Iu0X42UKyaQsb5VQ1+5P0+OcI=:QHKd1IAXPL/32klRtTTk8aGfjJSoJyBQ0+ObBkJMOhw=',
  ],
  [
    '\u06271',
    '1:0a57+uqq/+pKb+ZnpXgs/A==$L1dxi3NSa9T137H/85hkX/71yPxYqfWWkmUSkjfjE6s=:0YSf9Y+HfUjxJAqdqMlPe9npxU8EgN5TLkuM4kpMAd8=',
  ],
  [
    '\u06271\u0627',
    '1:DP62VUGoEs9ce27ZsFTJWA==$MOedXiM5TVr33lWnwftXha/K5kkBHs/WzlegYZgRn7g=:ghvzcBb5SG6/whEiJM76KSqjKcn++7IXX0PxWaL7vrk=',
  ],
  [
    '\u200b\ufb01',
    '1:LW4lLAlU1K9X1zcLFkRNlg==$nPrUjk8w41YRtyzsl/h0GJnRnlA/VgCAOwlTg1KBZ0k=:v+ykvNldwgUOTutzVSuEKmSturBrJ/I53EosiXBw6+I=',
  ],
  [
    'e\u0301\u0007',
    '1:OQkWEOjScFT3fQtS6jochg==$uiEHeEC6sAfI0vogLEUCaNXuGKsTd5EDxKtlvfZLXzw=:Uck1lcGALsKqYt6np5hexuj32gGlmgsH98E9o7xl8Ss=',
  ],
  [
    '\u00ad\ufe0f',
    '1:aI30NjBgurWrDkVypBpTXA==$zczR8UrxACYPY4jBC6SZeokISplKrv126gZne6D6NLQ=:hMFftk77QBsV2Tx9OqZMdlMEgN5Vc3XjD5+169yS1RQ=',
  ],
  [
    '\ufb01\u0221',
    '1:8gUMxVZ4iQPXx4sfMFR1CQ==$xeb2YwO4CbiQmfErB5D2GRmSaWW/jT2jD3+TUMMB+2M=:HNdChgQOK9SOXeh1R2xDDpAfVOUJVmFOW1tbYrbDVls=',
  ],
])('%j gives the keys that PostgreSQL derives', (password, rest) => {
  const secret = classifySecret(`SCRAM-SHA-256$${rest}`);
  expect(secret.kind).toBe('scram');
  if (secret.kind !== 'scram') return;
  const bytes = saslprep(Buffer.from(password));
  const keys = scramKeysOf(pbkdf2Sync(bytes, secret.salt, secret.iterations, 32, 'sha256'));
  expect(keys.storedKey).toEqual(secret.storedKey);
  expect(keys.serverKey).toEqual(secret.serverKey);
});

test('a password so long that preparing it would take long stays as it is', () => {
  const marks = Buffer.from(`a${'\u0323\u0301'.repeat(1023)}`);
  expect(saslprep(marks)).not.toEqual(marks);
  const more = Buffer.concat([marks, Buffer.from('\u0301\u0323')]);
  expect(more.length).toBeGreaterThan(4096);
  expect(saslprep(more)).toBe(more);
});

test('any bytes come back as bytes, and preparing twice changes nothing more', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.string({ unit: 'binary' }).map((t) => Buffer.from(t)),
      ),
      (bytes) => {
        const once = saslprep(Buffer.from(bytes));
        expect(saslprep(once)).toEqual(once);
      },
    ),
  );
});
