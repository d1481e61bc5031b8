import { BlockList, isIP } from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { maskOf, parseIp, sameNetwork } from '../../src/config/ip-address.ts';
import { anyText } from '../support/any-text.ts';

test.each([
  ['1.2.3.4', '1.2.3.4'],
  ['::', Array(16).fill(0).join('.')],
  ['::1', `${'0.'.repeat(15)}1`],
  ['1::', `0.1.${Array(14).fill(0).join('.')}`],
  ['::ffff:1.2.3.4', '1.2.3.4'],
  ['::ffff:102:304', '1.2.3.4'],
  ['64:ff9b::1.2.3.4', '0.100.255.155.0.0.0.0.0.0.0.0.1.2.3.4'],
])('%s is read as %s', (text, bytes) => {
  expect(parseIp(text)?.join('.')).toBe(bytes);
});

test.each([
  '',
  '1.2.3',
  '1.2.3.4.5',
  '256.0.0.1',
  '01.2.3.4',
  ':::',
  'fe80::1%eth0',
  'localhost',
  '1::2::3',
])('%j is no address', (text) => {
  expect(parseIp(text)).toBeNull();
});

test('networks are the ones that Node means, too', () => {
  const v4 = fc.ipV4().map((text) => ({ text, family: 'ipv4' as const, bits: 32 }));
  const v6 = fc.ipV6().map((text) => ({ text, family: 'ipv6' as const, bits: 128 }));
  fc.assert(
    fc.property(
      fc.oneof(fc.tuple(v4, v4), fc.tuple(v6, v6)),
      fc.nat(128),
      fc.boolean(),
      ([a, b], bits, near) => {
        const [base, ip] = [parseIp(a.text), parseIp(b.text)];
        // Node knows mapped addresses by another rule.
        if (base === null || ip === null || base.length !== ip.length || base.length * 8 !== a.bits) return;
        const length = bits % (a.bits + 1);
        const list = new BlockList();
        list.addSubnet(a.text, length, a.family);
        const text = near ? a.text : b.text;
        expect(sameNetwork(near ? base : ip, base, maskOf(length, base.length))).toBe(
          list.check(text, a.family),
        );
      },
    ),
    { numRuns: 500 },
  );
});

test('what Node takes for an address is one here, and nothing else', () => {
  fc.assert(
    fc.property(fc.oneof(anyText, fc.ipV4Extended(), fc.ipV6()), (text) => {
      expect(parseIp(text) !== null).toBe(isIP(text) !== 0 && !text.includes('%'));
    }),
    { numRuns: 1000 },
  );
});
