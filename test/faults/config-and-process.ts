import { type Fault, fault } from './fault.ts';

/** What files, time and signals do. */
export const configAndProcessFaults: readonly Fault[] = [
  fault(
    'RELOAD of a bad file applies what stands ahead of the mistake',
    {
      file: 'src/config/load.ts',
      find: 'this.#databases.set(key, entry);',
      replace:
        'const inForce = (this.#previous?.databases ?? this.#databases) as Map<string, DatabaseEntry>;\n      for (const map of [inForce, this.#databases]) map.set(key, entry);',
    },
    ['test/config/load.test.ts'],
  ),
  fault(
    'RELOAD changes settings that are read at start only',
    {
      file: 'src/config/load.ts',
      find: 'if (before !== undefined) this.#keepStartValues(texts, before);',
      replace: '',
    },
    ['test/config/load.test.ts'],
  ),
  fault(
    'a value ends at a semicolon',
    {
      file: 'src/config/ini-lines.ts',
      find: "value: (value[1] ?? '').replace(trailingSpace, ''),",
      replace: "value: (value[1] ?? '').replace(/;.*/, '').replace(trailingSpace, ''),",
    },
    ['test/config/ini-lines.test.ts'],
  ),
  fault(
    'query_wait_timeout is off',
    {
      file: 'src/client/timeouts.ts',
      find: "if (limits.queryWaitTimeoutMs > 0 && waitedMs > limits.queryWaitTimeoutMs) return 'query_wait_timeout';",
      replace: '',
    },
    ['test/client/timeouts.test.ts'],
  ),
  fault(
    'client_idle_timeout ends clients that wait or work',
    { file: 'src/client/timeouts.ts', find: 'if (view.isLinked) return null;', replace: '' },
    ['test/client/timeouts.test.ts'],
  ),
  fault(
    'a client that has waited for a server in vain is not told why',
    {
      file: 'src/client/timeout-error.ts',
      find: 'if (client.waitStartMs === 0) return fatal(text);',
      replace: 'if (client.waitStartMs >= 0) return fatal(text);',
    },
    ['test/integration/timeouts.test.ts'],
  ),
  fault(
    'a login that has waited for a server in vain is not told why',
    {
      file: 'src/client/session-sweep.ts',
      find: "timeoutError('client_login_timeout (server down)', session, nowMs)",
      replace: "timeoutError('client_login_timeout (server down)', { pool, waitStartMs: 0 }, nowMs)",
    },
    ['test/integration/timeouts.test.ts'],
  ),
  fault(
    'what ignore_startup_parameters names is set on servers all the same',
    {
      file: 'src/client/startup-parameters.ts',
      find: 'tracked, parameters) && !ignored.includes(name)) {',
      replace: 'tracked, parameters)) {',
    },
    ['test/client/startup-parameters.test.ts', 'test/integration/extra-parameters.test.ts'],
  ),
  fault(
    'SIGUSR1 opens a debugger port',
    { file: 'src/cli/bin.ts', find: ", 'SIGUSR1'] as const", replace: '] as const' },
    ['test/cli/bin.test.ts'],
  ),
  fault(
    'a second SIGTERM is no fast exit',
    {
      file: 'src/daemon/signals.ts',
      find: 'if (handlers.isShuttingDown()) {\n      log.log(',
      replace: 'if (handlers.isSuspended()) {\n      log.log(',
    },
    ['test/daemon/signals.test.ts'],
  ),
  fault(
    'a second pooler overwrites the pidfile of the first',
    {
      file: 'src/daemon/pidfile.ts',
      find: "fd = openSync(path, 'wx', 0o644);",
      replace: "fd = openSync(path, 'w', 0o644);",
    },
    ['test/daemon/pidfile.test.ts'],
  ),
  fault(
    'a message in the log can forge a line of its own',
    {
      file: 'src/daemon/log-line.ts',
      find: "return safe.includes('\\n') ? safe.replaceAll('\\n', '\\n\\t') : safe;",
      replace: 'return safe;',
    },
    ['test/daemon/log-line.test.ts'],
  ),
];
