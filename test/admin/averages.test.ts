import { expect, test } from 'vitest';
import { addCounters, averages, StatsWindow, statsLine, zeroCounters } from '../../src/admin/averages.ts';
import { counters } from './fake-control.ts';

test('rates are per second, times per event, all rounded down', () => {
  const totals = {
    serverAssignmentCount: 104,
    xactCount: 103,
    queryCount: 107,
    received: 1100,
    sent: 2101,
    xactTimeUs: 1010,
    queryTimeUs: 1020,
    waitTimeUs: 1030,
    clientParseCount: 105,
    serverParseCount: 106,
    bindCount: 109,
    clientLoginCount: 101,
  };
  const since = { ...zeroCounters, serverAssignmentCount: 100, xactCount: 100, queryCount: 100 };
  expect(averages(totals, since, 2_000_000)).toEqual({
    serverAssignmentCount: 2,
    xactCount: 1,
    queryCount: 3,
    received: 550,
    sent: 1050,
    xactTimeUs: 336,
    queryTimeUs: 145,
    waitTimeUs: 257,
    clientParseCount: 52,
    serverParseCount: 53,
    bindCount: 54,
    clientLoginCount: 50,
  });
});

test('an empty window and an idle one average to zero', () => {
  expect(averages(counters(5), zeroCounters, 0).xactCount).toBe(0);
  expect(averages(counters(5), counters(5), 1_000_000)).toEqual(zeroCounters);
});

test('counters add up one by one', () => {
  expect(addCounters(counters(1), zeroCounters)).toEqual(counters(1));
  expect(addCounters(counters(1), counters(1)).clientLoginCount).toBe(24);
});

test('the window reaches back to the turn before the last: one to two periods', () => {
  const window = new StatsWindow(1000, zeroCounters);
  expect(window.lengthUs(1500)).toBe(500_000);
  window.turn(61_000, counters(100));
  expect(window.since).toEqual(zeroCounters);
  expect(window.lengthUs(61_000)).toBe(60_000_000);
  window.turn(121_000, counters(200));
  expect(window.since).toEqual(counters(100));
  expect(window.lengthUs(180_000.5)).toBe(119_000_500);
});

test('the window of a young pool is that of the others, with nothing counted when it began', () => {
  const window = new StatsWindow(1000, zeroCounters, 61_000);
  expect(window.lengthUs(62_000)).toBe(61_000_000);
  expect(window.since).toEqual(zeroCounters);
  window.turn(121_000, counters(100));
  expect(window.lengthUs(122_000)).toBe(61_000_000);
  expect(window.since).toEqual(zeroCounters);
});

test('the window keeps copies, so counters that go on counting don’t move it', () => {
  const live = { ...counters(1) };
  const window = new StatsWindow(0, live);
  live.serverAssignmentCount = 77;
  expect(window.since).toEqual(counters(1));
});

test('the stats line has PgBouncer’s wording', () => {
  expect(statsLine(counters(1))).toBe(
    'stats: 2 xacts/s, 3 queries/s, 9 client parses/s, 10 server parses/s, 11 binds/s, 12 client logins/s, ' +
      'in 4 B/s, out 5 B/s, xact 6 us, query 7 us, wait 8 us',
  );
});
