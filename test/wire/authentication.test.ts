import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  authenticationCleartextPassword,
  authenticationMD5Password,
  authenticationOk,
  authenticationSASL,
  authenticationSASLContinue,
  authenticationSASLFinal,
  passwordMessage,
  readPasswordMessage,
  readSaslInitialResponse,
  saslInitialResponse,
  saslResponse,
} from '../../src/wire/authentication.ts';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';

test.each([
  ['AuthenticationOk', authenticationOk(), '520000000800000000'],
  ['AuthenticationCleartextPassword', authenticationCleartextPassword(), '520000000800000003'],
  [
    'AuthenticationMD5Password',
    authenticationMD5Password(Buffer.from('01020304', 'hex')),
    '520000000c0000000501020304',
  ],
  ['AuthenticationSASL', authenticationSASL(['A', 'BC']), '520000000e0000000a410042430000'],
  ['AuthenticationSASLContinue', authenticationSASLContinue('r=1'), '520000000b0000000b723d31'],
  ['AuthenticationSASLFinal', authenticationSASLFinal('v=1'), '520000000b0000000c763d31'],
  ['PasswordMessage', passwordMessage('pe\u00e9'), '70000000097065c3a900'],
  ['SASLInitialResponse', saslInitialResponse('A', 'xy'), '700000000c41000000000278' + '79'],
  ['SASLResponse', saslResponse('c=1'), '7000000007633d31'],
])('%s is laid out as the manual says', (_name, bytes, hex) => {
  expect(bytes.toString('hex')).toBe(hex);
});

test('spoiling one AuthenticationOk does not spoil the next', () => {
  authenticationOk().fill(0);
  expect(authenticationOk().toString('hex')).toBe('520000000800000000');
});

test('a password is the one string that fills the body', () => {
  expect(readPasswordMessage(Buffer.from('secret\0')).toString()).toBe('secret');
  expect(readPasswordMessage(Buffer.from('\0')).toString()).toBe('');
  for (const body of ['', 'secret', 'sec\0ret\0', 'secret\0\0', '\0\0']) {
    expect(() => readPasswordMessage(Buffer.from(body))).toThrow(ProtocolViolation);
  }
});

test('a SASLInitialResponse is read back, also without data', () => {
  const { mechanism, data } = readSaslInitialResponse(
    saslInitialResponse('SCRAM-SHA-256', 'n,,').subarray(5),
  );
  expect([mechanism, data?.toString()]).toEqual(['SCRAM-SHA-256', 'n,,']);
  expect(readSaslInitialResponse(Buffer.from('4100ffffffff', 'hex'))).toEqual({ mechanism: 'A', data: null });
});

test('a SASLInitialResponse cut at any byte is a protocol violation', () => {
  const whole = saslInitialResponse('SCRAM-SHA-256', 'n,,n=,r=abc').subarray(5);
  for (let end = 0; end < whole.length; end++) {
    expect(() => readSaslInitialResponse(whole.subarray(0, end))).toThrow(ProtocolViolation);
  }
});

test.each([
  '41007fffffff',
  '410080000000',
  '4100fffffffe',
  '410000000001',
  '41000000000161ff',
])('a SASLInitialResponse %s, whose length does not add up, is a protocol violation', (hex) => {
  expect(() => readSaslInitialResponse(Buffer.from(hex, 'hex'))).toThrow(ProtocolViolation);
});

test('random bodies throw nothing but protocol violations', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      for (const read of [readPasswordMessage, readSaslInitialResponse]) {
        try {
          read(Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolViolation);
        }
      }
    }),
  );
});
