import { expect, it } from 'vitest';
import { ServerProtocols } from '../../src/server/protocols.ts';
import { ManualClock } from '../support/manual-clock.ts';

const HOUR_MS = 3600 * 1000;
const here = { host: '10.0.0.5', port: 5432 };

it('a server is asked for the newest version, and for 3.0 in the hour after it took nothing else', () => {
  const clock = new ManualClock();
  const protocols = new ServerProtocols(clock, () => 2);
  expect(protocols.minorFor(here)).toBe(2);
  protocols.takesOnlyOldest({ ...here });
  expect(protocols.minorFor({ ...here })).toBe(0);
  expect(protocols.minorFor({ ...here, port: 5433 })).toBe(2);
  expect(protocols.minorFor({ ...here, host: '10.0.0.6' })).toBe(2);
  clock.advance(HOUR_MS - 1);
  expect(protocols.minorFor(here)).toBe(0);
  clock.advance(1);
  expect(protocols.minorFor(here)).toBe(2);
});

it('no server is asked for more than is allowed at the moment', () => {
  let newest = 0;
  const protocols = new ServerProtocols(new ManualClock(), () => newest);
  expect(protocols.minorFor(here)).toBe(0);
  newest = 2;
  expect(protocols.minorFor(here)).toBe(2);
});
