/**
 * Test files that run once more with two threads in each pooler, as a project of vitest's: what operators do, and what
 * could be told apart from one event loop. Tests that look into one loop run with one there, too, and print why.
 */
export const threadsSuite = {
  /** In each run. */
  short: ['shutdown'],
  /** For faults that only they meet, and in `npm run test:full`. */
  ofFaults: ['suspend'],
  /** In `npm run test:full`, beside those. */
  full: [
    'admin',
    'admin-columns',
    'admin-show',
    'before-login',
    'cancel',
    'commands-amid-work',
    'console-drivers',
    'console-extended',
    'console-login',
    'daemon',
    'differential',
    'failures',
    'hand-over',
    'hand-over-refused',
    'isolation',
    'kill-client',
    'limits',
    'log',
    'memory',
    'operations-under-load',
    'pause',
    'peer-processes',
    'ping',
    'process',
    'reload',
    'rolling-restart',
    'run-as-user',
    'slots',
    'system-log',
    'systemd',
  ],
} as const;

/** What `npm test` leaves to `npm run test:full` and to the faults: it has five minutes on two cores. */
export const longFiles = [
  'bench/run',
  'docker/dockerfile',
  'integration/commands-amid-work',
  'integration/hand-over-refused',
  'integration/operations-under-load',
  'integration/reading-random',
  'integration/replication-programs',
  'integration/rolling-restart',
  'integration/threads-logins',
  'integration/threads-minimum',
  'integration/threads-pause',
  'integration/tls-reload',
  'load/leak',
].map((name) => `test/${name}.test.ts`);
