import { type Fault, fault } from './fault.ts';

const DEPARTURE = 'src/client/departure.ts';
const DRAIN = 'src/server/drain.ts';
const POOL = 'src/pool/pool.ts';
const SWEEP = 'src/pool/sweep.ts';

/** The pool's own look at a server before it goes to the next client: a second line of defence. */
const NOBODY_LOOKS = {
  file: 'src/pool/decide.ts',
  find: "if (!view.isClean) return { action: 'close', reason: 'client disconnected with queries in progress' };",
  replace: '',
};

/** What becomes of a server whose client is gone. */
export const vanishFaults: readonly Fault[] = [
  fault(
    'a cancel request for a client that waits for a server is dropped',
    {
      file: 'src/daemon/client-services.ts',
      find: 'owner.cancelWait()',
      replace: 'state.isPaused',
    },
    ['test/integration/waiting-clients.test.ts', 'test/integration/cancel.test.ts'],
  ),
  fault(
    'a client whose wait was cancelled is not read on where it has sent more than is kept',
    {
      file: 'src/client/session.ts',
      find: 'this.connection.guard(() => this.letGo());\n    return true;',
      replace: 'if (!this.conn.isPaused) this.connection.guard(() => this.letGo());\n    return true;',
    },
    ['test/integration/waiting-clients.test.ts'],
  ),
  fault(
    'a query whose wait for a server was cancelled is done later',
    { file: 'src/relay/request-stream.ts', find: 'this.#skipsTo = ANY;', replace: 'this.#skipsTo = 0;' },
    ['test/relay/request-stream.test.ts', 'test/integration/waiting-clients.test.ts'],
  ),
  fault(
    'a client that waits, has sent too much to be read on, and is gone, gets a server',
    {
      file: 'src/client/session.ts',
      find: 'if (!this.connection.closeIfLeft()) this.#align(end, isNew);',
      replace: 'this.#align(end, isNew);',
    },
    ['test/integration/waiting-clients.test.ts'],
    {
      file: 'src/client/connection.ts',
      find: 'if (this.phase.isWaiting === true) this.closeIfLeft();\n    else if',
      replace: 'if',
    },
  ),
  fault(
    'half a message of a client that has left stays with the server',
    {
      file: DEPARTURE,
      find: 'if (isWholeSent && server.isClean()) {',
      replace: 'if (server.isClean()) {',
    },
    ['test/integration/link.test.ts'],
  ),
  fault(
    'the open transaction of a client that has left is there for the next one',
    {
      file: DEPARTURE,
      find: 'if (isWholeSent && server.isClean()) {',
      replace: 'if (isWholeSent) {',
    },
    ['test/integration/link.test.ts'],
    NOBODY_LOOKS,
  ),
  fault(
    'the query of a client that has vanished runs on',
    {
      file: 'src/pool/cancels.ts',
      find: 'if (server.cancelsInFlight > 0) return;',
      replace: 'if (server.cancelsInFlight >= 0) return;',
    },
    ['test/integration/vanish.test.ts'],
  ),
  fault(
    'of a row of queries that a client has left running only the first is cancelled',
    { file: SWEEP, find: 'pool.cancels.cancelAbandoned(server);', replace: 'pool.waits.refresh();' },
    ['test/integration/vanish.test.ts'],
  ),
  fault(
    'a server is kept whose cancel may still strike',
    {
      file: POOL,
      find: "if (isClean) this.#settle(server, 'nothing');",
      replace: "if (isClean) this.#moveServer(server, 'idle');",
    },
    ['test/integration/vanish-servers.test.ts'],
  ),
  fault(
    'what is ours on a linked server does not wait for cancels that are under way',
    {
      file: 'src/server/interlude.ts',
      find: 'if (host.cancelsInFlight === 0) return false;',
      replace: 'if (host.cancelsInFlight >= 0) return false;',
    },
    ['test/integration/late-cancel.test.ts'],
  ),
  fault(
    'a cancel of what is over is sent while something of ours runs',
    {
      file: 'src/server/interlude.ts',
      find: 'host.pool.cancels.detach(host);',
      replace: '',
    },
    ['test/integration/late-cancel.test.ts'],
  ),
  fault(
    'SHUTDOWN WAIT_FOR_CLIENTS leaves what runs on servers that are closing',
    {
      file: 'src/daemon/control.ts',
      find: 'servers.being_canceled.length + servers.closing.length > 0',
      replace: 'servers.being_canceled.length > 0',
    },
    ['test/integration/vanish.test.ts'],
  ),
  fault(
    'a cancel that is not needed any more is sent all the same',
    {
      file: POOL,
      find: 'const { reason } = server.abandoned;\n    this.cancels.detach(server);',
      replace: 'const { reason } = server.abandoned;',
    },
    ['test/pool/pool-random.test.ts'],
  ),
  fault(
    'a server is kept that a vanished client has left in a transaction',
    { file: DRAIN, find: 'this.#end(this.#host.isClean());', replace: 'this.#end(true);' },
    ['test/integration/vanish.test.ts', 'test/integration/vanish-servers.test.ts'],
    NOBODY_LOOKS,
  ),
  fault(
    'answers to a vanished client are not counted',
    { file: DRAIN, find: 'else if (tracker.isQuiet)', replace: 'else if (bytes > 0)' },
    ['test/integration/vanish.test.ts', 'test/integration/vanish-servers.test.ts'],
    { file: DRAIN, find: 'this.#end(this.#host.isClean());', replace: 'this.#end(true);' },
    NOBODY_LOOKS,
  ),
  fault(
    'what a vanished client has done ahead of a Sync that never came is committed',
    {
      file: DRAIN,
      find: "this.#send(F.Execute, execute(`pgweir_client_is_gone_${randomBytes(16).toString('hex')}`));",
      replace: '',
    },
    ['test/integration/vanish.test.ts'],
  ),
  fault(
    'a Sync that never came is waited for',
    { file: DRAIN, find: 'if (tracker.isStretchOpen) {', replace: 'if (tracker.isMistaken) {' },
    ['test/integration/vanish.test.ts'],
  ),
  fault(
    'a COPY waits for more of a client that has vanished',
    {
      file: DRAIN,
      find: 'else if (tracker.isCopyIn && tracker.queue.copyEnds === 0)',
      replace: 'else if (tracker.isMistaken)',
    },
    ['test/integration/vanish.test.ts'],
  ),
  fault(
    'a server that does not come to rest is waited for without end',
    {
      file: SWEEP,
      find: 'if (nowMs - abandoned.cancelFromMs > pool.limits.serverCloseTimeoutMs) {',
      replace: 'if (nowMs < 0) {',
    },
    ['test/pool/sweep.test.ts', 'test/integration/vanish-servers.test.ts'],
  ),
  fault(
    'a result that nobody wants is read however long it is',
    { file: DRAIN, find: 'tracker.isUnsure || this.#bytes > LIMIT_BYTES', replace: 'tracker.isUnsure' },
    ['test/integration/vanish-servers.test.ts'],
  ),
  fault(
    'a search_path that a vanished client has set stays',
    {
      file: 'src/server/session-state.ts',
      find: '} else if (this.abandoned !== null) {',
      replace: '} else if (client !== null && this.abandoned !== null) {',
    },
    ['test/integration/vanish.test.ts'],
  ),
  fault(
    'a client that has said goodbye behind its query does not get it done',
    {
      file: DEPARTURE,
      find: 'saidGoodbye ? pool.limits.serverCloseTimeoutMs : 0',
      replace: '0',
    },
    ['test/integration/vanish.test.ts'],
  ),
  fault(
    'a peer that falls silent is not probed',
    { file: 'src/net/tcp-options.ts', find: '  set(SOL_SOCKET, SO_KEEPALIVE, 1);\n', replace: '' },
    ['test/net/tcp-options.test.ts', 'test/integration/silent-peers.test.ts'],
  ),
  fault(
    'what a silent peer does not confirm is sent again for a quarter of an hour',
    {
      file: 'src/net/tcp-options.ts',
      find: '  set(IPPROTO_TCP, TCP_USER_TIMEOUT, options.userTimeoutMs);\n',
      replace: '',
    },
    ['test/net/tcp-options.test.ts', 'test/integration/silent-peers.test.ts'],
  ),
  fault(
    'nobody ends a cancel that hangs in a pool which has neither clients nor servers',
    {
      file: 'src/pool/sweep.ts',
      find: ' + waiting.length + sent.length > 0',
      replace: ' > 0',
    },
    ['test/pool/cancels.test.ts'],
    {
      file: 'src/pool/sweep.ts',
      find: '  const { waiting, sent } = pool.cancels;\n',
      replace: '',
    },
  ),
];
