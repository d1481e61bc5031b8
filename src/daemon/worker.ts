/** A thread that serves clients: one event loop, which begins with what the main thread gives it. */
import { closeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import type { ControlReply } from '../admin/control.ts';
import { SystemClock } from '../base/clock.ts';
import { acceptedSocket } from '../net/accepted.ts';
import { openNative } from '../net/native.ts';
import { socketFd } from '../net/native-sockets.ts';
import { Interest } from '../net/native-io.ts';
import { RawSocket, whenOver } from '../net/raw-socket.ts';
import { readinessOf } from '../net/readiness.ts';
import { SharedBudget } from '../pool/shared-budget.ts';
import { OWNER_NUMBERS } from '../pool/shared-owners.ts';
import { TlsContexts } from '../tls/contexts.ts';
import type { CancelOutcome } from '../client/services.ts';
import { cancelHere } from './client-services.ts';
import { ConnectionRing, type GivenConnection } from './connection-ring.ts';
import { Correspondence, type Mailbox } from './correspondence.ts';
import { SWEEP_INTERVAL_MS } from './janitor.ts';
import { LoginBoard } from './login-board.ts';
import { createLoop, type Loop } from './loop.ts';
import { applyTls } from './reload.ts';
import { Reception } from './reception.ts';
import { RemoteControl } from './remote-control.ts';
import { SharedCustody } from './server-custody.ts';
import { WorkerExchange } from './server-exchange.ts';
import { SharedGate } from './shared-gate.ts';
import { snapshotOf } from './snapshots.ts';
import { putStanding, standingOf } from './standing.ts';
import { WorkerLog } from './worker-log.ts';
import {
  lasts,
  type MainNotice,
  type MainQuestion,
  type WorkerCommand,
  type WorkerEnd,
  type WorkerStart,
} from './worker-messages.ts';

if (parentPort === null) throw new Error('a worker needs a main thread');
const start = workerData as WorkerStart;
const port = parentPort;
const mailbox: Mailbox = {
  postMessage(message, transferred) {
    // What has been logged before goes ahead.
    log.flush();
    port.postMessage(message, transferred);
  },
  on: (event, listener) => port.on(event, listener),
};
const main: WorkerEnd = new Correspondence(mailbox, answer, hear, lasts);
const log = new WorkerLog(start.levels, (lines) => main.tell({ kind: 'log', lines }));
// What led to it is said ahead of the end.
process.on('uncaughtExceptionMonitor', () => log.flush());
const clock = new SystemClock();
const native = openNative();
readinessOf(native, start.batchContext);
const budget = new SharedBudget(start.memory, start.owner, {
  ring: (owner) => main.tell({ kind: 'pass on', owner, notice: { kind: 'ring' } }),
  askYield: (owner, request) => main.tell({ kind: 'pass on', owner, notice: { kind: 'yield', request } }),
  hand: (owner, grant) => main.tell({ kind: 'pass on', owner, notice: { kind: 'room', grant } }),
  duplicate: (fd) => native.listen.duplicate(fd),
  closeDescriptor: closeSync,
  refused: (database, user) => exchange.refused(database, user),
  leftBehind: () => main.tell({ kind: 'left behind' }),
  full: (what) => log.log('ERROR', `no room is left for more ${what} in what the threads share`),
});
const exchange = new WorkerExchange({
  clock,
  log,
  budget,
  closeDescriptor: closeSync,
  pools: () => loop.state.pools,
  poolOf: (identity, limits) => loop.state.poolOf(identity, limits),
  others: start.owners.filter((owner) => owner !== start.owner),
  give: (owner, moved) => main.tell({ kind: 'pass on', owner, notice: { kind: 'server', moved } }),
  askFor: (owner, pool, mayClose) =>
    main.tell({ kind: 'pass on', owner, notice: { kind: 'offer', pool, mayClose } }),
});
exchange.enter(start.era);
const logins = new LoginBoard({
  budget,
  state: () => loop.state,
  tell: (report) => main.tell({ kind: 'logins', era: exchange.era(), report }),
  lacks: (database, user) => exchange.refused(database, user),
});
const derivations = new SharedGate(budget);
/** Connections for this thread, and how many are gone of those that it has taken. */
const ring = new ConnectionRing(start.connections);
const reception = new Reception(ring, { closeAtEnd: native.closeAtEnd, accept, later: setImmediate });
let gone = 0;
/** What commands do to the whole process. */
const wholeProcess = new RemoteControl(main);
/** As of the last connection, and as the main thread has said once and for all. */
let isUnixReplaced = false;
let isUnixLost = false;
/** The last one that this thread has carried out, or begun with. */
let lastCommand = start.standing.command;
/** No connection comes any more. The main thread may say so before it says that a shutdown begins. */
let isRetired = false;

const loop: Loop = createLoop({
  config: withoutPeers(start.config),
  clock,
  log,
  native,
  budget,
  owner: budget.name,
  custody: new SharedCustody(budget.custody, socketFd),
  nextId: () => budget.nextId(),
  loops: start.owners.length,
  derivations,
  mockSecret: Buffer.from(start.mockSecret),
  tls: new TlsContexts(start.ticketSecret),
  naming: start.naming,
  exchange,
  news: logins,
  outside: {
    control: wholeProcess,
    hooks: {
      // Configurations come from the main thread, which reads them.
      reload: async () => refuse('RELOAD'),
      set: async () => refuse('SET'),
      shutdownBegins: () => {
        loop.state.isRetiring = !isRetired;
      },
      drained: (last) => {
        main.tell({ kind: 'drained', last, taken: ring.takenCount });
      },
      exit: () => refuse('SHUTDOWN'),
    },
    isUnixReplaced: () => isUnixReplaced || isUnixLost,
    cancelElsewhere: async (key, cameBy) =>
      (await main.ask({ kind: 'cancel', key, cameBy })) as CancelOutcome | null,
    onStatsPeriod: () => {},
  },
});
const { state } = loop;

putTls(start.tlsTexts, start.tlsSettings);
putStanding(loop, start.standing);
loop.begin();
const hearsBell =
  readinessOf(native)?.add(start.bell, reception.bell, Interest.read | Interest.edge) === true;
main.tell({ kind: 'ready', hearsBell });
setInterval(() => {
  publishCpu();
  state.guard(() => logins.sweep());
}, SWEEP_INTERVAL_MS).unref();

function accept({ fd, peer, listener, isUnixReplaced: isReplaced }: GivenConnection): void {
  isUnixReplaced = isReplaced;
  const socket = acceptedSocket(native, fd, peer);
  if (socket === null) {
    countGone();
    return;
  }
  whenOver(socket, countGone);
  try {
    loop.accept(socket, listener);
    // It comes with its first bytes, which the set would tell in a turn of its own.
    const isDeferred = peer !== null && state.config.settings.tcp_defer_accept > 0;
    if (isDeferred && socket instanceof RawSocket && socket.mayRead) socket.readable();
  } catch (error) {
    // A bug, for which others are not to wait.
    log.log('ERROR', `internal error: ${error instanceof Error ? error.stack : String(error)}`);
    socket.destroy();
  }
}

function answer(question: MainQuestion, signal: AbortSignal): unknown {
  reception.takeAll();
  switch (question.kind) {
    case 'command': {
      const { request } = question;
      exchange.enter(question.era);
      const reply = carryOut(request, signal);
      lastCommand = Math.max(lastCommand, question.number);
      main.tell({ kind: 'standing', standing: standingOf(state, question.number) });
      return reply;
    }
    case 'beat':
      return null;
    case 'snapshot':
      return snapshotOf(question.of, state, loop.windows);
    case 'cancel':
      return cancelHere(state, wholeProcess, Buffer.from(question.key));
  }
}

function carryOut(request: WorkerCommand, signal: AbortSignal): ControlReply | Promise<ControlReply> {
  switch (request.kind) {
    case 'suspend':
      return loop.control.suspend(signal, request.attempt);
    case 'end suspension':
      return loop.control.endSuspension(request.attempt);
    case 'kill too':
      for (const name of request.databases) logins.forget(name);
      return loop.control.killUnpaused(request.databases);
    default:
  }
  const reply = loop.control.request(request, signal);
  // What has gone wrong, whoever asked is told.
  if (request.kind === 'kill') reply.then(({ ok }) => ok && logins.forget(request.database)).catch(() => {});
  return reply;
}

function hear(notice: MainNotice): void {
  // They have come before what it says.
  reception.takeAll();
  switch (notice.kind) {
    case 'connections':
      reception.hearBell();
      break;
    case 'apply':
      exchange.enter(notice.era);
      if (notice.tls !== null) putTls(notice.tls, notice.config.settings);
      loop.apply(withoutPeers(notice.config), null);
      logins.applied();
      // Databases that are gone are not paused any more.
      main.tell({ kind: 'standing', standing: standingOf(state, lastCommand) });
      break;
    case 'server':
      exchange.received(notice.moved);
      break;
    case 'offer':
      exchange.askedFor(notice.pool, notice.mayClose);
      break;
    case 'logins':
      logins.hear(notice.report);
      break;
    case 'tell logins':
      logins.tellAgain(notice.of);
      break;
    case 'ring':
      budget.rung();
      derivations.rung();
      break;
    case 'yield':
      budget.yieldAsked(notice.request);
      break;
    case 'room':
      budget.handed(notice.grant);
      break;
    case 'levels':
      log.configure(notice.levels);
      break;
    case 'unix replaced':
      isUnixLost = true;
      break;
    case 'retired':
      isRetired = true;
      state.isRetiring = false;
      break;
  }
}

/** Read by the main thread, which needs no answer of this one for it. */
function publishCpu(): void {
  const { user, system } = process.threadCpuUsage();
  budget.publishNumber(OWNER_NUMBERS.cpu, Math.floor((user + system) / 10_000));
}

function countGone(): void {
  gone = (gone + 1) | 0;
  budget.publishNumber(OWNER_NUMBERS.gone, gone);
}

/** What there is to warn of, the main thread has. */
function putTls(texts: WorkerStart['tlsTexts'], settings: WorkerStart['tlsSettings']): void {
  applyTls(state, { ...state.tls.prepareFrom(texts, settings), warnings: [] });
}

/** Cancel requests for peers are handed on by the main thread. */
function withoutPeers(config: WorkerStart['config']): WorkerStart['config'] {
  return { ...config, peers: new Map() };
}

function refuse(what: string): never {
  throw new Error(`${what} is the main thread's`);
}
