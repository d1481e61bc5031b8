import { type Fault, fault } from './fault.ts';

const MOVED = ['test/integration/moved-servers.test.ts'] as const;
const RANDOM = ['test/integration/moved-servers-random.test.ts'] as const;
const UNIT = ['test/pool/server-moves.test.ts'] as const;
const MOVING = ['test/daemon/moving.test.ts'] as const;
const SESSION = 'src/server/session-state.ts';

/** What goes wrong with a server connection that another event loop takes up. */
export const moveFaults: readonly Fault[] = [
  fault(
    'a server that rests where it was kept for a moment goes on resting while others wait elsewhere',
    {
      file: 'src/daemon/server-exchange.ts',
      find: 'if (this.#host.budget.longestWaiterElsewhere(pool.key) >= 0) this.#lookAgain(pool);',
      replace: '',
    },
    ['test/daemon/server-exchange.test.ts'],
  ),
  fault(
    'a server that nobody elsewhere may have yet is left at rest without a word',
    { file: 'src/pool/server-moves.ts', find: '      exchange.stays(host);\n', replace: '' },
    UNIT,
  ),
  fault(
    'a queue begins anew with each server that rests for a moment',
    {
      file: 'src/pool/wait-report.ts',
      find: 'else this.#publish(this.#publishedMs);',
      replace: 'else if (this.#hasRest !== this.#publishedRest) this.refresh();',
    },
    MOVING,
  ),
  fault(
    'a server that must be checked first is of no use to other threads',
    { file: 'src/pool/server-moves.ts', find: 'host.isHeld || this.#checksOne()', replace: 'host.isHeld' },
    MOVING,
  ),
  fault(
    'who waits for a login or a check that hangs asks no other thread',
    { file: 'src/pool/sweep.ts', find: '  pool.launcher.askElsewhere();\n', replace: '' },
    MOVING,
  ),
  fault(
    'a check that hangs is no reason to ask other threads',
    {
      file: 'src/pool/launcher.ts',
      find: 'servers.new.length + servers.tested.length === 0',
      replace: 'servers.new.length === 0',
    },
    MOVING,
  ),
  fault(
    'a client’s own login hangs with that of a server, though another thread has one',
    {
      file: 'src/pool/launcher.ts',
      find: 'clients.waiting.length + clients.waiting_login.length > 0',
      replace: 'clients.waiting.length > 0',
    },
    MOVING,
  ),
  fault(
    'a server over TLS is closed for a client that a login is under way for',
    {
      file: 'src/daemon/server-exchange.ts',
      find: 'pool.launcher.wouldOpen',
      replace: 'true',
    },
    MOVING,
  ),
  fault(
    'a server over TLS is closed for a client that a check is under way for',
    {
      file: 'src/pool/launcher.ts',
      find: 'clients.waiting.length - servers.tested.length, forLogins',
      replace: 'clients.waiting.length, forLogins',
    },
    MOVING,
  ),
  fault(
    'a check for another thread that hangs keeps all other servers back',
    {
      file: 'src/pool/server-moves.ts',
      find: 'if (!isAnswering) this',
      replace: 'if (servers.tested.length === 0) this',
    },
    MOVING,
  ),
  fault(
    'what was moved is remembered of pools that are gone',
    { file: 'src/pool/pools.ts', find: 'this.#context.exchange?.forget(pool);', replace: '' },
    UNIT,
  ),
  fault(
    'prepared statements don’t go along with their server',
    { file: SESSION, find: 'this.statements.restore(all.statements, cache);', replace: '' },
    [...RANDOM, ...MOVED],
  ),
  fault(
    'parameters don’t go along with their server',
    { file: SESSION, find: 'this.parameters[i] = value;\n    });', replace: '});' },
    RANDOM,
  ),
  fault(
    'what a server has been set to beside that doesn’t go along',
    {
      file: SESSION,
      find: 'this.extras = all.extras.size === 0 ? NO_EXTRAS : all.extras;',
      replace: '',
    },
    RANDOM,
    { file: SESSION, find: 'this.silent = all.silent;', replace: '' },
    { file: SESSION, find: 'this.parameters[i] = value;\n    });', replace: '});' },
  ),
  fault(
    'what connect_query has set doesn’t go along with its server',
    { file: SESSION, find: 'this.begunWith[i] = value;\n    });', replace: '});' },
    ['test/server/session-state.test.ts'],
  ),
  fault(
    'what the configuration says of a parameter without a declaration doesn’t go along with a server',
    {
      file: SESSION,
      find: 'for (const [name, value] of all.configured) this.#configured.set(name, value);',
      replace: '',
    },
    ['test/server/session-state.test.ts'],
  ),
  fault(
    'what PostgreSQL has said on the way is the next client’s',
    {
      file: 'src/pool/server-moves.ts',
      find: "if (!server.catchUp()) host.closeServer(server, 'server conn crashed?');\n    // It has missed",
      replace: '// It has missed',
    },
    [...MOVED, ...UNIT],
  ),
  fault(
    'bytes that have come before a move are lost',
    {
      file: 'src/pool/server-moves.ts',
      find: "if (!server.catchUp()) host.closeServer(server, 'server conn crashed?');\n      const restMs",
      replace: 'const restMs',
    },
    UNIT,
  ),
  fault(
    'an error that is read ahead of a move is swallowed',
    {
      file: 'src/net/conn.ts',
      find: 'this.#isCaughtUp = end === -1;',
      replace: 'this.#isCaughtUp = end < 0;',
    },
    ['test/net/conn-moved.test.ts'],
  ),
  fault(
    'a connection is shut down when it is let go',
    {
      file: 'src/net/conn.ts',
      find: 'this.handler = NOBODY;\n    this.current.destroy();',
      replace: 'this.handler = NOBODY;\n    this.current.end();',
    },
    ['test/net/conn-moved.test.ts'],
  ),
  fault(
    'a descriptor that has been let go is still watched',
    {
      file: 'src/net/conn.ts',
      find: 'this.#unwatch();\n    this.handler = NOBODY;',
      replace: 'this.handler = NOBODY;',
    },
    ['test/net/conn-moved.test.ts'],
  ),
  fault(
    'a server that is wanted elsewhere stays',
    { file: 'src/pool/pool.ts', find: "if (server.state === 'idle') this.moves.offer();", replace: '' },
    UNIT,
  ),
  fault(
    'a server that missed RECONNECT on the way is used',
    {
      file: 'src/pool/server-moves.ts',
      find: "if (moved.era < this.#era) host.closeServer(server, 'obsolete connection');",
      replace: '',
    },
    [...UNIT, ...MOVED],
  ),
  fault(
    'SHOW WORKERS counts moves of a dead thread’s life into the next one’s averages',
    {
      file: 'src/daemon/worker-rows.ts',
      find: 'window === undefined || window.startWallMs !== startWallMs',
      replace: 'window === undefined',
    },
    ['test/daemon/worker-rows.test.ts'],
  ),
  fault(
    'of several threads that have not taken their servers up the last one is known alone',
    {
      file: 'src/daemon/server-exchange.ts',
      find: 'moves.onTheWay.set(owner, grant);',
      replace: 'moves.onTheWay.clear();\n    moves.onTheWay.set(owner, grant);',
    },
    ['test/daemon/server-exchange.test.ts'],
  ),
  fault(
    'over TLS a thread that hangs is in the way of those that wait behind it',
    {
      file: 'src/daemon/server-exchange.ts',
      find: 'late.has(owner) || closedFor.has(owner)',
      replace: 'late.has(owner) || closedFor.size > 0',
    },
    ['test/daemon/server-exchange.test.ts'],
  ),
  fault(
    'over TLS servers are closed again and again for a thread that hangs',
    {
      file: 'src/daemon/server-exchange.ts',
      find: 'late.has(owner) || closedFor.has(owner)',
      replace: 'late.has(owner)',
    },
    ['test/daemon/server-exchange.test.ts'],
  ),
  fault(
    'a thread that is to be left out is found to wait longest',
    { file: 'src/pool/shared-waits.ts', find: ' || except.has(owner)) continue', replace: ') continue' },
    ['test/daemon/server-exchange.test.ts'],
  ),
  fault(
    'a shutdown waits for a thread that has died and left nothing',
    {
      file: 'src/daemon/workforce.ts',
      find: 'return this.#buried.has(number) && this.#waiting.length === 0;',
      replace: 'return false;',
    },
    ['test/daemon/workforce.test.ts'],
  ),
  fault(
    'a shutdown does not wait for what a dead thread has left',
    {
      file: 'src/daemon/workforce.ts',
      find: 'this.#buried.has(number) && this.#waiting.length === 0',
      replace: 'this.#waiting.length === 0',
    },
    ['test/daemon/workforce.test.ts'],
  ),
  fault(
    'a thread that begins amid a shutdown waits for connections for good',
    {
      file: 'src/daemon/workforce.ts',
      find: "    if (this.#isRetired) end.tell({ kind: 'retired' });\n",
      replace: '',
    },
    ['test/daemon/workforce.test.ts'],
  ),
  fault(
    'a console whose SUSPEND was ended before it was complete ends the next one',
    { file: 'src/daemon/suspender.ts', find: ' || this.#ends !== ends', replace: '' },
    ['test/daemon/suspender.test.ts'],
    { file: 'src/daemon/suspender.ts', find: '    const ends = this.#ends;\n', replace: '' },
  ),
  fault(
    'servers that come from other threads are not counted',
    { file: 'src/daemon/server-exchange.ts', find: "this.#count('received');", replace: '' },
    ['test/daemon/server-exchange.test.ts'],
  ),
  fault(
    'a server from elsewhere has an unpaused pool amid PAUSE',
    {
      file: 'src/daemon/context.ts',
      find: 'this.#opened(this.pools.open(now, poolLimits(this.#config, entry, user)));',
      replace: 'this.pools.open(now, poolLimits(this.#config, entry, user));',
    },
    MOVED,
  ),
  fault(
    'a server from elsewhere has a pool with the settings of when it left',
    {
      file: 'src/daemon/context.ts',
      find: 'this.pools.open(now, poolLimits(this.#config, entry, user))',
      replace: 'this.pools.open(now, limits)',
    },
    MOVED,
  ),
  fault(
    'PAUSE over threads is answered while a server is on its way between them',
    {
      file: 'src/daemon/process-control.ts',
      find: "reply.ok && request.kind === 'pause' ?",
      replace: 'false ?',
    },
    ['test/daemon/process-control.test.ts'],
  ),
  fault(
    'PAUSE over threads waits on when it has been taken back',
    {
      file: 'src/daemon/process-control.ts',
      find: 'if (!this.#hooks.isPaused(database)) return controlFailure.canceled();',
      replace: '',
    },
    ['test/daemon/process-control.test.ts'],
  ),
  fault(
    'servers go to and fro for nothing',
    { file: 'src/pool/decide-move.ts', find: 'waitMs + headStartMs(waitMs)', replace: 'waitMs' },
    ['test/pool/decide-move.test.ts'],
  ),
  fault(
    'no server over TLS is closed for a client that waits in another thread',
    {
      file: 'src/pool/server-moves.ts',
      find: 'if (idle !== null && exchange.mayReopen(host))',
      replace: 'if (idle !== null && exchange === null)',
    },
    ['test/integration/threads-tls.test.ts'],
  ),
];
