import { expect, test } from 'vitest';
import { SpacedLines } from '../../src/daemon/spaced-lines.ts';
import { RecordingLog } from '../net/listener-kit.ts';
import { ManualClock } from '../support/manual-clock.ts';

test('what every connection brings about is written once in five seconds, with how often it was left out', () => {
  const clock = new ManualClock();
  const log = new RecordingLog();
  const lines = new SpacedLines(clock, log);
  for (let i = 0; i < 100; i++) lines.write('ERROR', 'full');
  expect(log.lines).toEqual(['ERROR full']);
  for (const ms of [4999, 1, 5000]) {
    clock.advance(ms);
    lines.write('ERROR', 'full');
  }
  expect(log.lines.slice(1)).toEqual(['ERROR full (100 more such lines suppressed before)', 'ERROR full']);
});
