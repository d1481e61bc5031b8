import { type Fault, fault } from './fault.ts';

const DECIDE = 'src/pool/decide.ts';
const POOL = 'src/pool/pool.ts';

/** Whom a server connection is given to, when, and when it goes. */
export const poolFaults: readonly Fault[] = [
  fault(
    'a client that says nothing keeps a server that was being set right when its pool went over to transactions',
    {
      file: 'src/server/connection.ts',
      find: '    this.#releaseDue = true;\n    this.releaseIfDone();',
      replace: '    this.releaseIfDone();',
    },
    ['test/integration/reload-modes.test.ts'],
  ),
  fault(
    'the reset query is never run',
    {
      file: DECIDE,
      find: "limits.poolMode === 'session' || limits.serverResetQueryAlways",
      replace: 'limits.serverResetQueryAlways',
    },
    ['test/pool/decide.test.ts', 'test/pool/pool.test.ts'],
  ),
  fault(
    'a slot is free as soon as the close of its connection has begun',
    {
      file: POOL,
      find: "this.#moveServer(server, 'closing');\n    server.beginClose(reason);",
      replace:
        "this.#moveServer(server, 'closing');\n    this.#context.budget.giveBack(server.grant);\n    server.beginClose(reason);",
    },
    ['test/pool/launcher.test.ts', 'test/pool/pool-random.test.ts', 'test/pool/pools.test.ts'],
  ),
  fault(
    'closing servers do not count against pool_size',
    {
      file: 'src/pool/server-lists.ts',
      find: 'return this.usable + this.dedicated.length + this.new.length + this.closing.length;',
      replace: 'return this.usable + this.dedicated.length + this.new.length;',
    },
    ['test/pool/server-lists.test.ts'],
  ),
  fault(
    'a cancel that was sent keeps its server without end when cancel_wait_timeout is 0',
    { file: 'src/pool/sweep.ts', find: 'if (!job.isCarried) return false;', replace: 'return false;' },
    ['test/pool/cancels.test.ts'],
  ),
  fault(
    'a cancel that has not been sent stays when the link of its client ends',
    {
      file: POOL,
      find: 'client.unlinked();\n    this.cancels.detach(server);',
      replace: 'client.unlinked();',
    },
    ['test/pool/cancels.test.ts'],
  ),
  fault(
    'a server whose cancel is still under way serves the next client',
    {
      file: DECIDE,
      find: "if (view.cancelsInFlight > 0) return { action: 'wait-for-cancels' };",
      replace: '',
    },
    ['test/pool/decide.test.ts', 'test/pool/cancels.test.ts'],
  ),
  fault(
    'PAUSE does not keep idle servers from new assignments',
    { file: POOL, find: 'if (!this.isHeld) {', replace: 'if (this.database !== null) {' },
    ['test/pool/pool.test.ts'],
  ),
  fault(
    'PAUSE does not keep released servers from clients that wait',
    {
      file: DECIDE,
      find: "if (view.paused) return { action: 'close', reason: 'pause mode' };\n  if (!view",
      replace: 'if (!view',
    },
    ['test/pool/decide.test.ts', 'test/pool/pool.test.ts'],
  ),
  fault(
    'who came last is served first',
    {
      file: 'src/pool/client-lists.ts',
      find: 'else list.pushBack(client);',
      replace: 'else list.pushFront(client);',
    },
    ['test/pool/pool.test.ts'],
  ),
  fault(
    'a client that comes overtakes those who wait',
    {
      file: POOL,
      find: 'this.clients.waiting.length === 0 ? this.#pickIdle() : null',
      replace: 'this.#pickIdle()',
    },
    ['test/pool/pool.test.ts'],
  ),
  fault(
    'reserve connections are lent without waiting for reserve_pool_timeout',
    { file: DECIDE, find: 'view.firstWaitMs >= limits.reservePoolTimeoutMs;', replace: 'true;' },
    ['test/pool/decide.test.ts', 'test/pool/launcher.test.ts'],
  ),
  fault(
    'max_client_conn lets one client too many in',
    {
      file: 'src/pool/budget.ts',
      find: 'isFull(client.all - (held === null ? 0 : 1), ask.totalLimit)',
      replace: 'isFull(client.all, ask.totalLimit && ask.totalLimit + 1)',
    },
    ['test/pool/budget.test.ts'],
  ),
  fault(
    'max_db_connections is not asked about',
    {
      file: 'src/pool/launcher.ts',
      find: 'databaseLimit: limits.maxDbConnections,',
      replace: 'databaseLimit: 0,',
    },
    ['test/pool/pools.test.ts', 'test/pool/launcher.test.ts'],
  ),
  fault(
    'each event loop fills its pool up to min_pool_size for itself',
    {
      file: 'src/pool/launcher.ts',
      find: 'const connected = this.#budget.serving(database, user);',
      replace: 'const connected = servers.usable + servers.new.length;',
    },
    ['test/pool/minimum-random.test.ts'],
    {
      file: 'src/pool/launcher.ts',
      find: "servingLimit: purpose === 'min_pool_size' ? limits.minPoolSize : 0,",
      replace: 'servingLimit: 0,',
    },
  ),
  fault(
    'event loops that close idle servers at the same time go below min_pool_size',
    {
      file: 'src/pool/shared-budget.ts',
      find: 'if (records.serving(record) <= least) return false;',
      replace: '',
    },
    ['test/pool/budget.test.ts'],
  ),
  fault(
    'no reserve is lent where other event loops have a part of the pool',
    {
      file: 'src/pool/launcher.ts',
      find: "if (grant === 'pool' && !decision.isReserve) return 'full';",
      replace: '',
    },
    ['test/pool/several-loops.test.ts'],
  ),
  fault(
    'what has come back while nobody waited here is not heard of: the pool is taken for full',
    { file: 'src/pool/pools.ts', find: 'pool.launcher.freed();', replace: 'void pool;' },
    ['test/pool/several-loops.test.ts'],
  ),
  fault(
    'the budget is asked each time that a client waits for what other event loops have',
    { file: 'src/pool/launcher.ts', find: "purpose === 'client' && this.#isKnownFull", replace: 'false' },
    ['test/pool/several-loops.test.ts'],
  ),
  fault(
    'servers go to other event loops as fast as they may, until too many are there, and back again',
    {
      file: 'src/pool/decide-move.ts',
      find: 'return Math.max(SPACING_MS, otherWaitMs / 2);',
      replace: 'return SPACING_MS;',
    },
    ['test/pool/decide-move.test.ts'],
  ),
  fault(
    'a client waits for ever for a connection of its own while another event loop keeps a part of the pool busy',
    {
      file: 'src/pool/launcher.ts',
      find: "this.#budget.count('server', { database, user }) >= limits.poolSize",
      replace: 'this.#host.servers.slotsTaken >= limits.poolSize',
    },
    ['test/pool/several-loops.test.ts'],
  ),
  fault(
    'servers of a dead thread count as ones that serve the pool',
    { file: 'src/pool/budget-keeper.ts', find: 'records.setAside(record);', replace: '' },
    ['test/pool/budget-death.test.ts'],
  ),
  fault(
    'filling up to min_pool_size evicts connections of other pools',
    {
      file: 'src/pool/launcher.ts',
      find: "if (purpose === 'min_pool_size') return 'refused';",
      replace: '',
    },
    ['test/pool/launcher.test.ts'],
  ),
  fault(
    'a server that comes to rest makes no room for the clients of other pools',
    { file: 'src/pool/pool.ts', find: '|| this.#context.claims.take(this, server)', replace: '' },
    ['test/pool/pools.test.ts'],
  ),
  fault(
    'a server makes room as soon as it has logged in',
    { file: 'src/pool/yield-claims.ts', find: 'nowMs - server.readyMs < tenureMs || ', replace: '' },
    ['test/pool/pools.test.ts'],
  ),
  fault(
    'a pool never makes room anew once nothing rested in it',
    { file: 'src/pool/pools.ts', find: 'if (this.#emptyAt !== moves) this.#empty.clear();', replace: '' },
    ['test/pool/pools.test.ts'],
  ),
  fault(
    'a limit over several pools keeps an error of long ago in force',
    { file: 'src/pool/launcher.ts', find: 'return this.#lacksRoom;', replace: 'return false;' },
    ['test/pool/pools.test.ts'],
  ),
  fault(
    'a pool is drained for those who have waited longest',
    {
      file: 'src/pool/yield-claims.ts',
      find: 'if (oldestWaitStartMs !== 0 && nowMs - claims.takenMs < TENURE_MS) return false;',
      replace: '',
    },
    ['test/pool/pools.test.ts'],
  ),
  fault(
    'others make room for clients that have been served meanwhile',
    {
      file: 'src/pool/launcher.ts',
      find: 'if (!clients.isWaiting || servers.new.length > 0 || isHeld) return null;',
      replace: '',
    },
    ['test/pool/pools.test.ts'],
  ),
  fault(
    'clients that have left unnoticed are given servers',
    {
      file: 'src/pool/client-lists.ts',
      find: "!first.leaveIfGone() || first.state === 'waiting'",
      replace: "first.state === 'waiting'",
    },
    ['test/pool/pool.test.ts'],
  ),
  fault(
    'a pool with clients that wait never makes room for those of others',
    {
      file: 'src/pool/yield-claims.ts',
      find: 'Math.min(nowMs, oldestWaitStartMs - AHEAD_MS)',
      replace: '-1',
    },
    ['test/pool/pools.test.ts'],
  ),
  fault(
    'a connection that hangs on its way out holds up all that wait for room',
    {
      file: 'src/pool/server-lists.ts',
      find: 'last.stateSinceMs < Math.min(CLOSING_MS * 2 ** (length - 1), MOST_CLOSING_MS)',
      replace: 'last.stateSinceMs < Infinity',
    },
    ['test/pool/pools.test.ts', 'test/pool/dedicated.test.ts'],
  ),
  fault(
    'server_lifetime is ignored',
    {
      file: DECIDE,
      find: 'return sinceLifetimeCloseMs >= spacingMs;',
      replace: 'return sinceLifetimeCloseMs < 0;',
    },
    ['test/pool/decide.test.ts', 'test/pool/sweep.test.ts'],
  ),
  fault(
    'idle_transaction_timeout is measured from BEGIN',
    {
      file: DECIDE,
      find: 'view.nowMs - view.lastServerBytesMs > limits.idleTransactionTimeoutMs',
      replace: 'view.nowMs - view.xactStartMs > limits.idleTransactionTimeoutMs',
    },
    ['test/pool/decide.test.ts', 'test/pool/sweep.test.ts'],
  ),
  fault(
    'query_timeout ends transactions between two queries',
    { file: DECIDE, find: 'view.queryStartMs > 0 &&\n', replace: '' },
    ['test/pool/decide.test.ts'],
  ),
  fault(
    'a pool opens all the connections that its clients wait for at once',
    { file: DECIDE, find: 'return Math.min(most, 1 + successes);', replace: 'return 1000;' },
    ['test/pool/launcher.test.ts'],
  ),
  fault(
    'a failed login makes no difference to how many are tried at a time',
    {
      file: 'src/pool/launcher.ts',
      find: 'this.#failure = { message, atMs };\n    this.#successes = 0;',
      replace: 'this.#failure = { message, atMs };',
    },
    ['test/pool/launcher.test.ts'],
  ),
  fault(
    'logins of an earlier burst count for how many are tried at a time',
    {
      file: 'src/pool/launcher.ts',
      find: 'if (servers.new.length === 0 && !this.#hasSucceeded) this.#successes = 0;',
      replace: '',
    },
    ['test/pool/launcher.test.ts'],
  ),
  fault(
    'server_login_retry is ignored',
    {
      file: DECIDE,
      find: 'const retryMs = Math.max(limits.serverLoginRetryMs, SHORTEST_RETRY_MS);',
      replace: 'const retryMs = SHORTEST_RETRY_MS;',
    },
    ['test/pool/decide.test.ts', 'test/pool/launcher.test.ts'],
  ),
  fault(
    'a server that ignores Terminate keeps its slot for ever',
    { file: 'src/pool/sweep.ts', find: 'server.cut();', replace: 'pool.service();' },
    ['test/pool/sweep.test.ts'],
  ),
  fault(
    'who is in the middle of a list cannot leave it without taking others along',
    { file: 'src/base/list.ts', find: 'else next.listPrev = prev;', replace: '' },
    ['test/base/list.test.ts'],
  ),
  fault(
    'who gets half of the room that it needs leaves it to others',
    {
      file: 'src/pool/launcher.ts',
      find: "answer === 'user' && purpose === 'client' && ask.databaseLimit > 0",
      replace: 'false',
    },
    ['test/pool/pools.test.ts', 'test/pool/room-random.test.ts'],
  ),
  fault(
    'who lacks the other half keeps the one for ever',
    {
      file: 'src/pool/launcher.ts',
      find: '(clients.isWaiting && !isHeld && nowMs - this.#heldMs < HOLD_MS)',
      replace: '(clients.isWaiting && !isHeld)',
    },
    ['test/pool/pools.test.ts'],
  ),
  fault(
    'the place that is held counts against itself',
    {
      file: 'src/pool/shared-budget.ts',
      find: 'counts.total(slot) - (own !== NONE && records.countsIn(own, slot) ? 1 : 0) < limit',
      replace: 'counts.total(slot) < limit',
    },
    ['test/pool/budget.test.ts'],
  ),
  fault(
    'who has servers keeps places of the database, too',
    {
      file: 'src/pool/launcher.ts',
      find: '    if (this.#budget.serving(ask.database, ask.user) > 0) return answer;\n',
      replace: '',
    },
    ['test/pool/pools.test.ts'],
  ),
  fault(
    'several pools of one user keep places, and none of them gets room for the user',
    { file: 'src/pool/launcher.ts', find: 'userLimit: ask.userLimit + 1 }', replace: 'userLimit: 0 }' },
    ['test/pool/pools.test.ts'],
  ),
  fault(
    'places are kept again and again by those to whom they are of no use',
    {
      file: 'src/pool/launcher.ts',
      find: 'Math.min(2 * this.#holdAgainMs, MOST_HOLD_AGAIN_MS)',
      replace: 'HOLD_AGAIN_MS',
    },
    ['test/pool/pools.test.ts'],
  ),
];
