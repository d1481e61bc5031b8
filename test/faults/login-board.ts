import { type Fault, fault } from './fault.ts';

const BOARD = 'src/daemon/login-board.ts';
const WORKFORCE = 'src/daemon/workforce.ts';
const UNIT = 'test/daemon/login-board.test.ts';
const THREADS = 'test/integration/threads-logins.test.ts';

/** What threads know of each other's logins to servers. */
export const loginBoardFaults: readonly Fault[] = [
  fault(
    'clients are told what the server of an earlier configuration has reported',
    { file: BOARD, find: 'if (needsRecycling(known.entry, entry)) return false;', replace: '' },
    [UNIT],
  ),
  fault(
    'what was reported before a thread had heard of the configuration is told to all',
    { file: WORKFORCE, find: 'if (era !== this.#era) {', replace: 'if (era === -1) {' },
    [THREADS],
  ),
  fault(
    'what was reported before a thread had heard of a command is told to nobody',
    {
      file: WORKFORCE,
      find: "from.end.tell({ kind: 'tell logins', of: { database: report.database, user: report.user } });",
      replace: '',
    },
    [THREADS],
  ),
  fault(
    'KILL leaves other threads what the server has reported',
    {
      file: BOARD,
      find: 'if (database === null || known.database === database)',
      replace: 'if (database === null)',
    },
    [UNIT],
  ),
  fault(
    'a thread that begins later knows nothing of logins',
    {
      file: WORKFORCE,
      find: "for (const { end: other } of this.#ready()) other.tell({ kind: 'tell logins', of: null });",
      replace: '',
    },
    [THREADS],
  ),
  fault(
    'servers that a later thread gives to others are closed there',
    { file: 'src/daemon/worker.ts', find: 'exchange.enter(start.era);', replace: '' },
    [THREADS],
  ),
  fault(
    'a login that SUSPEND has held up goes on waiting after RESUME',
    {
      file: 'src/daemon/suspension.ts',
      find: 'if (pool.welcome !== null) pool.introduce(pool.welcome);',
      replace: '',
    },
    [THREADS],
  ),
  fault(
    'logins go on in SUSPEND',
    { file: 'src/pool/pool.ts', find: 'if (this.#context.isSuspended()) return;', replace: '' },
    [UNIT],
  ),
  fault(
    'clients are refused though another thread has a server for them',
    {
      file: 'src/pool/launcher.ts',
      find: ' || this.#news?.hasUsable(this.#host) === true',
      replace: '',
    },
    [UNIT, THREADS],
  ),
  fault(
    'a failed login is its own thread’s alone',
    { file: 'src/pool/launcher.ts', find: 'this.#news?.failed(this.#host, failure, atMs);', replace: '' },
    [UNIT],
  ),
];
