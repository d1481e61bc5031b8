/** A thread that serves clients: one event loop, which begins with what the main thread gives it. */
import { closeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { SystemClock } from '../base/clock.ts';
import { acceptedSocket } from '../net/accepted.ts';
import { openNative } from '../net/native.ts';
import { socketFd } from '../net/native-sockets.ts';
import { RawSocket } from '../net/raw-socket.ts';
import { SharedBudget } from '../pool/shared-budget.ts';
import type { CancelOutcome } from '../client/services.ts';
import { cancelHere } from './client-services.ts';
import { Correspondence } from './correspondence.ts';
import { createLoop, type Loop } from './loop.ts';
import { applyTls } from './reload.ts';
import { RemoteControl } from './remote-control.ts';
import { snapshotOf } from './snapshots.ts';
import { putStanding, standingOf } from './standing.ts';
import { WorkerLog } from './worker-log.ts';
import type { MainNotice, MainQuestion, WorkerEnd, WorkerStart } from './worker-messages.ts';

if (parentPort === null) throw new Error('a worker needs a main thread');
const start = workerData as WorkerStart;
const main: WorkerEnd = new Correspondence(parentPort, answer, hear);
const log = new WorkerLog(start.levels, (lines) => main.tell({ kind: 'log', lines }));
const clock = new SystemClock();
const native = openNative();
const budget = new SharedBudget(start.memory, start.column, {
  ring: (column) => main.tell({ kind: 'pass on', column, notice: { kind: 'ring' } }),
  askYield: (column, scope) => main.tell({ kind: 'pass on', column, notice: { kind: 'yield', scope } }),
  close: closeSync,
});
/** What commands do to the whole process. */
const wholeProcess = new RemoteControl(main);
let isUnixReplaced = false;

const loop: Loop = createLoop({
  config: withoutPeers(start.config),
  clock,
  log,
  native,
  budget,
  owner: budget.owner,
  custody: {
    keep(grant, socket) {
      if (socket instanceof RawSocket) throw new Error('a server connection without a socket of Node');
      const fd = native.listen.duplicate(socketFd(socket));
      if (fd === null) return false;
      const isKept = budget.keep(grant, fd);
      // While there is a copy, the peer hears nothing of the end of the original.
      if (isKept) socket.prependOnceListener('close', () => budget.letGo(grant, fd));
      else closeSync(fd);
      return isKept;
    },
    learnKey: (grant, key) => budget.learnKey(grant, key),
  },
  nextId: () => budget.nextId(),
  mockSecret: Buffer.from(start.mockSecret),
  outside: {
    control: wholeProcess,
    hooks: {
      // Configurations come from the main thread, which reads them.
      reload: () => refuse('RELOAD'),
      set: () => refuse('SET'),
      shutdownBegins: () => {
        loop.state.isRetiring = true;
      },
      drained: (last) => main.tell({ kind: 'drained', last }),
      exit: () => refuse('SHUTDOWN'),
    },
    isUnixReplaced: () => isUnixReplaced,
    cancelElsewhere: async (key, cameBy) =>
      (await main.ask({ kind: 'cancel', key, cameBy })) as CancelOutcome | null,
    onStatsPeriod: () => {},
  },
});
const { state } = loop;

putTls(start.tlsTexts);
putStanding(loop, start.standing);
loop.begin();
main.tell({ kind: 'ready' });

function answer(question: MainQuestion, signal: AbortSignal): unknown {
  switch (question.kind) {
    case 'command': {
      const reply = loop.control.request(question.request, signal);
      main.tell({ kind: 'standing', standing: standingOf(state) });
      return reply;
    }
    case 'snapshot':
      return snapshotOf(question.of, state, loop.windows);
    case 'cancel':
      return cancelHere(state, wholeProcess, Buffer.from(question.key));
  }
}

function hear(notice: MainNotice): void {
  switch (notice.kind) {
    case 'connection': {
      isUnixReplaced = notice.isUnixReplaced;
      budget.tookConnection();
      const socket = acceptedSocket(notice.fd);
      if (socket === null) return;
      socket.once('close', () => budget.connectionGone());
      loop.accept(socket, notice.listener);
      break;
    }
    case 'apply':
      if (notice.tls !== null) putTls(notice.tls, notice.config);
      loop.apply(withoutPeers(notice.config), null);
      break;
    case 'ring':
      budget.rung();
      break;
    case 'yield':
      budget.yieldHere(notice.scope);
      break;
    case 'levels':
      log.configure(notice.levels);
      break;
    case 'retired':
      state.isRetiring = false;
      break;
    case 'stop':
      loop.stop();
      log.flush();
      break;
  }
}

/** What there is to warn of, the main thread has. */
function putTls(texts: WorkerStart['tlsTexts'], config = start.config): void {
  applyTls(state, { ...state.tls.prepareFrom(texts, config.settings), warnings: [] });
}

/** Cancel requests for peers are handed on by the main thread. */
function withoutPeers(config: WorkerStart['config']): WorkerStart['config'] {
  return { ...config, peers: new Map() };
}

function refuse(what: string): never {
  throw new Error(`${what} is the main thread's`);
}
