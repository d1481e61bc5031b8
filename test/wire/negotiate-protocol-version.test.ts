import { describe, expect, it } from 'vitest';
import { negotiateProtocolVersion } from '../../src/wire/negotiate-protocol-version.ts';

describe('negotiateProtocolVersion', () => {
  it('offers 3.0 when only the version was too new', () => {
    expect(negotiateProtocolVersion([]).toString('hex')).toBe('760000000c0003000000000000');
  });

  it('names every protocol option that was asked for', () => {
    expect(negotiateProtocolVersion(['_pq_.a', '_pq_.bc']).toString('latin1')).toBe(
      'v\0\0\0\x1b\0\x03\0\0\0\0\0\x02_pq_.a\0_pq_.bc\0',
    );
  });
});
