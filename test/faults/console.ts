import { type Fault, fault } from './fault.ts';

const CONSOLE = 'src/admin/console.ts';
const EXTENDED = 'src/admin/extended-query.ts';
const SESSION = 'src/admin/console-session.ts';
const PHASE = 'src/client/console.ts';
const SUSPENSION = 'src/daemon/suspension.ts';
const CONTROL = 'src/daemon/control.ts';
const POSTGRES: Fault['tests'] = [
  'test/integration/console-extended.test.ts',
  'test/admin/extended-query.test.ts',
];
const UNREAD: Fault['tests'] = ['test/integration/hostile-peers.test.ts'];
const SUSPEND: Fault['tests'] = ['test/integration/suspend.test.ts'];

/** The console, its extended protocol, and SUSPEND. */
export const consoleFaults: readonly Fault[] = [
  fault(
    'a command without a row in the table of authorization may be run',
    { file: 'src/admin/access.ts', find: 'least !== undefined && (', replace: '(' },
    ['test/admin/access.test.ts'],
  ),
  fault(
    'the extended protocol asks nobody whether a user may run a command',
    {
      file: 'src/admin/plan.ts',
      find: 'return mayRun(context.role, command) ?',
      replace: "return mayRun('admin', command) ?",
    },
    ['test/integration/console-extended.test.ts'],
  ),
  fault(
    'messages behind an error are answered before the Sync',
    { file: CONSOLE, find: '      this.#isSkipping = true;\n', replace: '' },
    POSTGRES,
  ),
  fault(
    'an error in a transaction leaves it as it is',
    { file: SESSION, find: '    this.status = TxStatus.Failed;\n', replace: '' },
    POSTGRES,
  ),
  fault(
    'portals outlive their transaction',
    { file: SESSION, find: 'if (this.status === TxStatus.Idle) this.portals.clear();', replace: '' },
    POSTGRES,
  ),
  fault(
    'a command is carried out again with each Execute of its portal',
    { file: EXTENDED, find: '        portal.isDone = true;\n', replace: '' },
    ['test/admin/extended-query.test.ts'],
  ),
  fault(
    'binary is asked for, and text comes',
    {
      file: EXTENDED,
      find: 'dataRows(columns, rows, portal.formats)',
      replace: 'dataRows(columns, rows, [])',
    },
    ['test/integration/console-extended.test.ts', 'test/integration/console-drivers.test.ts'],
  ),
  fault(
    'several statements at once may change the pooler',
    {
      file: 'src/admin/plan.ts',
      find: 'plans.length <= 1 || plans.every(({ isHarmless }) => isHarmless)',
      replace: 'plans.length >= 0',
    },
    ['test/admin/commands.test.ts'],
  ),
  fault(
    'numerics in binary keep their zeros at the end',
    { file: 'src/wire/binary-cell.ts', find: 'while (digits.at(-1) === 0) digits.pop();', replace: '' },
    ['test/wire/binary-cell.test.ts'],
  ),
  fault(
    'a query of the console runs on while nobody takes its answers',
    {
      file: PHASE,
      find: 'return new Promise((resolve) => this.#write(bytes, resolve));',
      replace: 'this.#connection.conn.write(bytes);\n    return Promise.resolve();',
    },
    UNREAD,
  ),
  fault(
    'a console that has read everything is taken for one that does not read',
    { file: PHASE, find: 'bytes === 0 || bytes <', replace: 'bytes <' },
    UNREAD,
  ),
  fault(
    'a console that reads slowly is taken for one that does not read',
    { file: PHASE, find: 'const SLICE_BYTES = 64 * 1024;', replace: 'const SLICE_BYTES = 2 ** 30;' },
    ['test/client/console.test.ts'],
  ),
  fault(
    'a console that has half an answer is told an error in the middle of it',
    { file: PHASE, find: 'return this.#isMidAnswer;', replace: 'return false;' },
    ['test/client/console.test.ts'],
  ),
  fault(
    'SUSPEND stops a client in the middle of its message',
    { file: SUSPENSION, find: '|| client.phase.atBoundary', replace: '|| true' },
    SUSPEND,
  ),
  fault(
    'SUSPEND is complete while answers wait for their clients',
    { file: SUSPENSION, find: 'conn.isSuspended && (', replace: '(' },
    SUSPEND,
    { file: SUSPENSION, find: 'conn.pendingBytes === 0 ||', replace: 'conn.pendingBytes >= 0 ||' },
  ),
  fault(
    'SUSPEND outlives the console that asked for it',
    { file: SUSPENSION, find: "signal.addEventListener('abort', onGone, { once: true });", replace: '' },
    SUSPEND,
  ),
  fault(
    'client_login_timeout counts the time of SUSPEND',
    { file: SUSPENSION, find: 'connection.resumed(this.#startMs);', replace: '' },
    SUSPEND,
  ),
  fault(
    'suspend_timeout closes nobody',
    { file: SUSPENSION, find: 'timeoutMs === 0 ||', replace: 'timeoutMs >= 0 ||' },
    SUSPEND,
  ),
  fault(
    'time limits strike during SUSPEND',
    {
      file: 'src/daemon/loop.ts',
      find: 'if (state.isSuspended) state',
      replace: 'if (state.isSuspended) janitor.sweep(), state',
    },
    SUSPEND,
  ),
  fault(
    'an onlooker’s cancel ends a PAUSE',
    { file: 'src/daemon/client-services.ts', find: "mayRun(owner, 'resume') && ", replace: '' },
    ['test/integration/pause.test.ts'],
  ),
  fault(
    'logins go on during SUSPEND',
    {
      file: 'src/daemon/client-services.ts',
      find: 'database === ADMIN_DATABASE ? null : (state',
      replace: 'database !== null ? null : (state',
    },
    SUSPEND,
  ),
  fault(
    'SUSPEND is accepted with a paused database',
    { file: CONTROL, find: 'return controlFailure.pausedDatabases();', replace: '{}' },
    SUSPEND,
  ),
  fault(
    'a graceful SHUTDOWN waits for what SUSPEND holds',
    {
      file: CONTROL,
      find: '    this.suspension.end();\n    state.shutdown = mode;',
      replace: '    state.shutdown = mode;',
    },
    SUSPEND,
  ),
  fault(
    'a suspended pool gives servers to whoever asks',
    {
      file: 'src/pool/pool.ts',
      find: 'return this.paused || this.#context.isSuspended();',
      replace: 'return this.paused;',
    },
    ['test/pool/suspended.test.ts'],
  ),
  fault(
    'RESUME leaves those who wait without a server',
    {
      file: SUSPENSION,
      find: '      pool.service();\n    }\n    suspension.resolve',
      replace: '    }\n    suspension.resolve',
    },
    SUSPEND,
  ),
  fault(
    'portals of a console keep rows without end',
    {
      file: EXTENDED,
      find: 'if (this.#keptRows > MAX_KEPT_ROWS) return',
      replace: 'if (this.#keptRows > Number.MAX_SAFE_INTEGER) return',
    },
    ['test/admin/extended-query.test.ts'],
  ),
  fault(
    'DISCARD ALL in the console goes amid a pipeline',
    { file: 'src/admin/console-session.ts', find: ' || this.#isPipelined) {', replace: ') {' },
    ['test/integration/console-extended.test.ts'],
  ),
];
