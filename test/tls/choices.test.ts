import { describe, expect, it } from 'vitest';
import { cipherList, curveChoice, dheChoice, versionRange } from '../../src/tls/choices.ts';
import { TlsSettingError } from '../../src/tls/setting-error.ts';

describe('TLS versions', () => {
  it.each([
    ['secure', 'TLSv1.2', 'TLSv1.3'],
    ['default', 'TLSv1.2', 'TLSv1.3'],
    ['all', 'TLSv1', 'TLSv1.3'],
    ['tlsv1', 'TLSv1', 'TLSv1.3'],
    ['tlsv1.0', 'TLSv1', 'TLSv1'],
    ['TLSv1.3', 'TLSv1.3', 'TLSv1.3'],
    ['tlsv1.2,tlsv1.3', 'TLSv1.2', 'TLSv1.3'],
    [' tlsv1.1 : tlsv1.3 ', 'TLSv1.1', 'TLSv1.3'],
    ['all,!tlsv1.0,!tlsv1.1', 'TLSv1.2', 'TLSv1.3'],
    ['!tlsv1.3', 'TLSv1', 'TLSv1.2'],
    ['secure,!tlsv1.3', 'TLSv1.2', 'TLSv1.2'],
  ])('of %j are %s to %s', (text, minVersion, maxVersion) => {
    expect(versionRange('client_tls_protocols', text)).toEqual({ minVersion, maxVersion });
  });

  it.each([
    '',
    'sslv3',
    'legacy',
    'tlsv1.2,',
    'secure,!all',
    '!',
    'tlsv1.4',
    'toString',
  ])('of %j are an error that names the setting', (text) => {
    expect(() => versionRange('server_tls_protocols', text)).toThrow(
      expect.objectContaining({ name: 'TlsSettingError', setting: 'server_tls_protocols' }) as Error,
    );
  });
});

describe('ciphers', () => {
  it.each([
    ['default', null, 'DEFAULT'],
    ['Secure', '', 'DEFAULT'],
    ['fast', null, 'DEFAULT'],
    ['HIGH:!aNULL', null, 'HIGH:!aNULL'],
    ['HIGH, !aNULL', null, 'HIGH:!aNULL'],
    ['default', 'TLS_AES_128_GCM_SHA256', 'TLS_AES_128_GCM_SHA256:DEFAULT'],
    ['HIGH', 'TLS_A,TLS_B', 'TLS_A:TLS_B:HIGH'],
    // As OpenSSL, which chooses suites of TLS 1.3 by the other setting alone.
    ['TLS_AES_256_GCM_SHA384:HIGH', null, 'HIGH'],
  ])('%j and %j are %s to Node', (ciphers, tls13, list) => {
    expect(cipherList('client', ciphers, tls13)).toBe(list);
  });

  it('of one setting in the other are an error', () => {
    expect(() => cipherList('server', 'default', 'HIGH')).toThrow('server_tls13_ciphers: expected');
    expect(() => cipherList('client', 'TLS_AES_256_GCM_SHA384', null)).toThrow(
      'client_tls_ciphers: expected',
    );
  });
});

it('curves and DHE parameters are left to OpenSSL, named, or refused', () => {
  expect([curveChoice('auto'), curveChoice('None'), curveChoice('')]).toEqual([{}, {}, {}]);
  expect(curveChoice('prime256v1')).toEqual({ ecdhCurve: 'prime256v1' });
  expect([dheChoice('AUTO'), dheChoice('none')]).toEqual([{ dhparam: 'auto' }, {}]);
  expect(() => dheChoice('legacy')).toThrow(TlsSettingError);
});
