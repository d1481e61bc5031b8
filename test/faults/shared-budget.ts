import { type Fault, fault } from './fault.ts';

const SECTION = 'src/base/shared-section.ts';
const KEEPER = 'src/pool/budget-keeper.ts';
const DEATH = 'test/pool/budget-death.test.ts';
const THREADS = 'test/pool/budget-threads.test.ts';
const MOVES = 'test/pool/budget-moves-random.test.ts';
const ROOM = 'test/pool/room-for-others.test.ts';
const ROOM_RANDOM = 'test/pool/room-random.test.ts';

/** Limits that several threads share, and what is left of one that dies. */
export const sharedBudgetFaults: readonly Fault[] = [
  fault(
    'what a dead thread was in the middle of stays half done',
    {
      file: SECTION,
      find: 'this.#undo();\n    this.#lock.freeOf(dead);',
      replace: 'this.commit();\n    this.#lock.freeOf(dead);',
    },
    [DEATH],
  ),
  fault(
    'threads ask for grants without the lock',
    { file: SECTION, find: 'this.#lock.acquire();\n    return', replace: 'return' },
    [THREADS],
  ),
  fault(
    'a client that has proved to be a user still counts as nobody’s, too',
    {
      file: 'src/pool/grant-records.ts',
      find: 'for (const slot of before) if (!all.includes(slot)) this.#counts.count(slot, column, -1);',
      replace: '',
    },
    ['test/pool/budget.test.ts', DEATH],
  ),
  fault(
    'a client that proves to be a user is one more than the limit of that allows',
    {
      file: 'src/pool/shared-budget.ts',
      find: '(own !== NONE && records.countsIn(own, slot) ? 1 : 0)',
      replace: '(own !== NONE ? 1 : 0)',
    },
    ['test/pool/budget.test.ts', THREADS],
  ),
  fault(
    'who hands a grant over still has it counted',
    { file: 'src/pool/shared-counts.ts', find: 'this.#section.add(at + from, -1);', replace: '' },
    [DEATH],
  ),
  fault(
    'grants of a dead thread come back while its servers live',
    {
      file: KEEPER,
      find: "records.kindOf(record) !== 'server' || !custody.has(record)",
      replace: 'true',
    },
    [DEATH],
  ),
  fault(
    'the descriptor of a server that was given back stays open',
    {
      file: 'src/pool/shared-budget.ts',
      find: "if (grant.kind === 'server') fd = custody.take(record);",
      replace: '',
    },
    [DEATH],
  ),
  fault(
    'a server that a thread has given away and not sent, for it has died, is nobody’s',
    { file: KEEPER, find: ' && !records.isGivenBy(record, owner)', replace: '' },
    [DEATH, MOVES],
  ),
  fault(
    'a server is taken up that was given to another thread with the same number',
    {
      file: 'src/pool/shared-budget.ts',
      find: 'if (record === NONE || records.giverOf(record) === NONE) return false;',
      replace: 'if (record === NONE) return true;',
    },
    [DEATH, 'test/daemon/server-exchange.test.ts'],
  ),
  fault(
    'a server that a thread cannot take up stays counted for ever',
    { file: 'src/pool/shared-budget.ts', find: 'records.move(record, layout.sizes.owners);', replace: '' },
    ['test/daemon/server-exchange.test.ts'],
  ),
  fault(
    'the end of a socket ends the custody of the one in its place',
    {
      file: 'src/daemon/server-custody.ts',
      find: 'if (this.#sockets.get(grant.id) !== socket) return;',
      replace: '',
    },
    ['test/daemon/server-custody.test.ts'],
  ),
  fault(
    'the end of a socket ends the custody of a server that is on its way back',
    { file: 'src/pool/grant-custody.ts', find: ' || records.giverOf(record) !== NONE ?', replace: ' ?' },
    ['test/daemon/server-custody.test.ts', MOVES],
  ),
  fault(
    'a refused thread is not rung',
    {
      file: 'src/pool/shared-budget.ts',
      find: 'if (isWaitedFor(kind)) this.#view.counts.markRefused(slot, this.#me);',
      replace: '',
    },
    ['test/pool/budget.test.ts'],
  ),
  fault(
    'each thread lets as many connections in before login as all together may',
    {
      file: 'src/pool/shared-budget.ts',
      find: "return this.#ask<PlaceRefusal>(ask.kind, scope, [\n      ['key', this.#keys.user(ask.kind, ask.key), ask.keyLimit],",
      replace:
        "return this.#ask<PlaceRefusal>(ask.kind, scope, [\n      ['key', this.#keys.user(ask.kind, this.name + ask.key), ask.keyLimit],",
    },
    ['test/daemon/shared-gate.test.ts'],
  ),
  fault(
    'places of a dead thread stay taken',
    {
      file: KEEPER,
      find: 'for (const kind of RECORD_KINDS)',
      replace: "for (const kind of ['client', 'server'] as const)",
    },
    [DEATH],
  ),
  fault(
    'each thread derives as many keys at a time as all together may',
    { file: 'src/daemon/shared-gate.ts', find: 'totalLimit: MAX_DERIVATIONS,', replace: 'totalLimit: 0,' },
    ['test/daemon/shared-gate.test.ts'],
  ),
  fault(
    'a thread that derives keys leaves no turn to another',
    {
      file: 'src/daemon/shared-gate.ts',
      find: 'if (this.#standsBack !== null) return null;',
      replace: '',
    },
    ['test/daemon/shared-gate.test.ts'],
  ),
  fault(
    'room that comes back is taken by whoever comes in that moment, and others wait for ever',
    {
      file: 'src/pool/launcher.ts',
      find: "purpose !== 'min_pool_size' && this.#isOthersTurn",
      replace: 'false',
    },
    [ROOM_RANDOM],
  ),
  fault(
    'what was closed for another thread is taken by the one that has closed it',
    {
      file: 'src/pool/shared-budget.ts',
      find: 'record !== NONE && records.isAside(record) ? this.#room.takerOf(grant) : NONE',
      replace: 'NONE',
    },
    [ROOM, ROOM_RANDOM],
  ),
  fault(
    'a busy pool makes no room for clients of another thread',
    {
      file: 'src/pool/room-for-others.ts',
      find: 'else if (claim.dueFromMs !== null) here.claimed?.(scope, this.#claimant(request));',
      replace: '',
    },
    [ROOM, ROOM_RANDOM],
  ),
  fault(
    'a thread that hangs keeps all the room that is made for it',
    {
      file: 'src/pool/room-for-others.ts',
      find: 'if (last !== undefined && this.#parts.isHeldBy(owner, last)) continue;',
      replace: '',
    },
    [ROOM],
  ),
  fault(
    'an idle server is closed for clients of another thread that it could serve there',
    {
      file: 'src/pool/pools.ts',
      find: "if (isTheirs && pool.moves.mayServeOthers) return 'goes';",
      replace: '',
    },
    [ROOM],
  ),
  fault(
    'each client that comes to wait asks all threads for room',
    {
      file: 'src/pool/launcher.ts',
      find: 'if (nowMs - this.#claimedMs < CLAIM_AGAIN_MS) return null;',
      replace: '',
    },
    [ROOM],
  ),
  fault(
    'a server is closed for one elsewhere where there is room for both',
    { file: 'src/pool/server-moves.ts', find: ' && host.launcher.isAtLimit', replace: '' },
    ['test/pool/server-moves.test.ts'],
  ),
  fault(
    'what a thread has closed for another is counted for ever when it dies before it says so',
    {
      file: 'src/pool/shared-budget.ts',
      find: 'else records.give(record, taker);',
      replace: 'else records.move(record, taker);',
    },
    [DEATH],
  ),
  fault(
    'each thread closes a server for one client that waits in another one',
    {
      file: 'src/pool/room-for-others.ts',
      find: ' && !this.#parts.isMet(asker, mark, claim.askedMs)',
      replace: '',
    },
    [ROOM],
  ),
  fault(
    'a thread that has a TLS server closed for another one’s client takes the place itself',
    { file: 'src/daemon/server-exchange.ts', find: 'budget.promise(owner, pool.key);', replace: '' },
    ['test/daemon/server-exchange.test.ts'],
  ),
  fault(
    'a server over TLS whose pool cannot log in keeps its place, though it can go nowhere',
    { file: 'src/pool/pools.ts', find: 'isTheirs && pool.moves.mayServeOthers', replace: 'isTheirs' },
    [ROOM],
  ),
  fault(
    'room that a thread was handed is anybody’s until it has asked',
    {
      file: 'src/pool/shared-budget.ts',
      find: '    this.#spare = grant;\n',
      replace: '    this.#view.section.run(() => this.#returnSpare(grant));\n',
    },
    [ROOM],
  ),
  fault(
    'what was closed within one limit meets the claims within all of them',
    { file: 'src/pool/shared-owners.ts', find: 'word & (MARKS - 1)', replace: 'word & 0' },
    [ROOM],
  ),
  fault(
    'a thread whose client’s own connection is logging in draws the servers of the others',
    {
      file: 'src/pool/wait-report.ts',
      find: 'clients.waiting_dedicated.length > 0',
      replace: 'clients.waiting_dedicated.length > 99',
    },
    [ROOM],
  ),
  fault(
    'each derivation of keys has all pools that wait ask again',
    {
      file: 'src/pool/shared-budget.ts',
      find: "outcome === 'back' && grant.kind === 'server'",
      replace: "outcome === 'back'",
    },
    ['test/pool/budget.test.ts'],
  ),
  fault(
    'a name that is too long for custody breaks the login',
    {
      file: 'src/pool/custody.ts',
      find: 'name.length > 4 * (CUSTODY_WORDS - HOST)',
      replace: 'name.length < 0',
    },
    ['test/daemon/server-custody.test.ts'],
  ),
  fault(
    'all servers of a dead thread are cancelled at once',
    { file: 'src/daemon/orphans.ts', find: 'CANCELS_AT_A_TIME = 16', replace: 'CANCELS_AT_A_TIME = 1e9' },
    ['test/daemon/orphans.test.ts'],
  ),
  fault(
    'a place that was held, and is let go, is handed in the place of a server that is closed for them',
    {
      file: 'src/pool/shared-budget.ts',
      find: 'record !== NONE && records.isAside(record) ?',
      replace: 'record !== NONE ?',
    },
    [ROOM],
  ),
  fault(
    'whoever waits for its own connection is forgotten when another one’s login is over',
    {
      file: 'src/pool/pool.ts',
      find: '    this.waits.changed();\n  }\n\n  /** The only place that changes a client',
      replace: '  }\n\n  /** The only place that changes a client',
    },
    [ROOM],
  ),
  fault(
    'threads are asked for servers of which none rests there',
    {
      file: 'src/daemon/server-exchange.ts',
      find: 'if (this.#host.budget.restsIn(owner, key))',
      replace: 'if (true)',
    },
    ['test/daemon/server-exchange.test.ts'],
  ),
  fault(
    'a pool that has all its servers here asks nobody for those of the reserve',
    {
      file: 'src/pool/launcher.ts',
      find: 'return this.#host.limits.reservePoolSize > 0;',
      replace: 'return false;',
    },
    ['test/pool/launcher.test.ts'],
  ),
  fault(
    'a server that begins to rest is not told of',
    { file: 'src/pool/wait-report.ts', find: 'else this.#publish(this.#publishedMs);', replace: '' },
    ['test/pool/server-moves.test.ts'],
  ),
  fault(
    'sixteen cancels that hang keep those of all other servers of a dead thread back',
    { file: 'src/daemon/orphans.ts', find: 'TURN_MS = 100', replace: 'TURN_MS = 1e9' },
    ['test/daemon/orphans.test.ts'],
  ),
  fault(
    'of several threads that were refused the same ones are always told last',
    {
      file: 'src/pool/rings.ts',
      find: '.sort((a, b) => turn(a) - turn(b));',
      replace: '.sort((a, b) => a - b);',
    },
    ['test/daemon/shared-gate.test.ts'],
  ),
  fault(
    'each thread has the limits on clients for itself',
    {
      file: 'src/pool/shared-budget.ts',
      find: 'counts.total(slot) - (own',
      replace: "(kind === 'client' ? counts.held(slot, this.#me) : counts.total(slot)) - (own",
    },
    ['test/integration/threads-limits.test.ts'],
  ),
];
