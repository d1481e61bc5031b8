import { afterEach, expect, test } from 'vitest';
import { LocalTime } from '../../src/base/local-time.ts';

const zone = process.env['TZ'];

afterEach(() => {
  if (zone === undefined) delete process.env['TZ'];
  else process.env['TZ'] = zone;
});

const winter = Date.UTC(2026, 0, 2, 3, 4, 5, 67);
const summer = Date.UTC(2026, 6, 31, 23, 30, 0, 999);

test.each([
  ['UTC', '2026-01-02 03:04:05 UTC', '2026-07-31 23:30:00 UTC'],
  ['Europe/Berlin', '2026-01-02 04:04:05 CET', '2026-08-01 01:30:00 CEST'],
  ['America/New_York', '2026-01-01 22:04:05 EST', '2026-07-31 19:30:00 EDT'],
  ['Asia/Kolkata', '2026-01-02 08:34:05 IST', '2026-08-01 05:00:00 IST'],
  ['Asia/Katmandu', '2026-01-02 08:49:05 +0545', '2026-08-01 05:15:00 +0545'],
  ['America/Sao_Paulo', '2026-01-02 00:04:05 -03', '2026-07-31 20:30:00 -03'],
])('in %s times are local and name the zone as of their own date', (name, inWinter, inSummer) => {
  process.env['TZ'] = name;
  const localTime = new LocalTime();
  expect(localTime.seconds(winter)).toBe(inWinter);
  expect(localTime.seconds(summer)).toBe(inSummer);
  expect(localTime.seconds(winter)).toBe(inWinter);
});

test('milliseconds have three digits and stand before the zone', () => {
  process.env['TZ'] = 'UTC';
  const localTime = new LocalTime();
  expect(localTime.millis(winter)).toBe('2026-01-02 03:04:05.067 UTC');
  expect(localTime.millis(summer)).toBe('2026-07-31 23:30:00.999 UTC');
});
