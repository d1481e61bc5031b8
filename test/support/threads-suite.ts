/**
 * Test files that run once more with two threads in each pooler, as a project of vitest's: what operators do, and what
 * could be told apart from one event loop. Tests that look into one loop run with one there, too, and print why.
 */
export const threadsSuite = {
  /** In each run. */
  short: ['shutdown', 'suspend'],
  /** In `npm run test:full`, beside those. */
  full: [
    'admin',
    'admin-columns',
    'admin-show',
    'commands-amid-work',
    'console-drivers',
    'console-extended',
    'console-login',
    'daemon',
    'differential',
    'hand-over',
    'isolation',
    'kill-client',
    'log',
    'memory',
    'operations-under-load',
    'pause',
    'peer-processes',
    'ping',
    'process',
    'rolling-restart',
    'run-as-user',
    'system-log',
    'systemd',
  ],
} as const;
