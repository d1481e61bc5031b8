import { expect, test } from 'vitest';
import { FAILURES_LOGGED, PeerLines } from '../../src/client/peer-lines.ts';
import { ManualClock } from '../support/manual-clock.ts';

function peerLines() {
  const clock = new ManualClock();
  const said: string[] = [];
  const lines = new PeerLines(clock, {
    enabled: () => true,
    log: (level, text) => void said.push(`${level} ${text}`),
  });
  const pass = (ms: number): void => {
    clock.advance(ms);
    lines.sweep(clock.nowMs());
  };
  return { lines, said, pass };
}

function fail(lines: PeerLines, peer: string, times: number): void {
  for (let i = 0; i < times; i++) lines.failed(peer);
}

test('a peer writes until it has failed so often in a minute; then it is counted what it would have written', () => {
  const { lines, said, pass } = peerLines();
  fail(lines, '10.0.0.1', FAILURES_LOGGED - 1);
  expect(lines.mayWrite('10.0.0.1')).toBe(true);
  fail(lines, '10.0.0.1', 1);
  for (let i = 0; i < 5; i++) expect(lines.mayWrite('10.0.0.1')).toBe(false);
  expect(lines.mayWrite('10.0.0.2')).toBe(true);
  pass(59_000);
  expect([lines.mayWrite('10.0.0.1'), said]).toEqual([false, []]);
  pass(1000);
  expect(said).toEqual(['WARNING 6 more lines about failed logins from 10.0.0.1 suppressed']);
  expect(lines.mayWrite('10.0.0.1')).toBe(true);
});

test('nothing is said of a peer of which nothing was left out', () => {
  const { lines, said, pass } = peerLines();
  fail(lines, '10.0.0.1', FAILURES_LOGGED);
  pass(60_000);
  expect(said).toEqual([]);
});

test('each peer has a minute of its own', () => {
  const { lines, said, pass } = peerLines();
  for (const peer of ['10.0.0.1', '10.0.0.2']) {
    fail(lines, peer, FAILURES_LOGGED);
    lines.mayWrite(peer);
    pass(30_000);
  }
  expect(said).toEqual(['WARNING 1 more lines about failed logins from 10.0.0.1 suppressed']);
  expect([lines.mayWrite('10.0.0.1'), lines.mayWrite('10.0.0.2')]).toEqual([true, false]);
});

test('more peers than can be told apart share what one may write', () => {
  const { lines, said, pass } = peerLines();
  for (let i = 0; i < 10_000; i++) fail(lines, `peer ${i}`, 1);
  for (let i = 0; i < FAILURES_LOGGED; i++) {
    expect(lines.mayWrite(`stranger ${i}`)).toBe(true);
    fail(lines, `stranger ${i}`, 1);
  }
  expect(lines.mayWrite('another stranger')).toBe(false);
  expect(lines.mayWrite('peer 0')).toBe(true);
  pass(60_000);
  expect(said).toEqual(['WARNING 1 more lines about failed logins from other addresses suppressed']);
  expect(lines.mayWrite('another stranger')).toBe(true);
});
