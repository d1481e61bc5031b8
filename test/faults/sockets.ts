import { type Fault, fault } from './fault.ts';

const RAW = 'src/net/raw-socket.ts';
const READINESS = 'src/net/readiness.ts';
const AHEAD = 'src/net/read-ahead.ts';

/** Descriptors of our own: to whom a number belongs, and what becomes of its bytes. */
export const socketFaults: readonly Fault[] = [
  fault(
    'a listener that fails again at rest goes on looking when it is closed',
    {
      file: 'src/net/listening-socket.ts',
      find: '#watchLater(acceptor: Acceptor): void {\n    this.#cancelRetry?.();',
      replace: '#watchLater(acceptor: Acceptor): void {',
    },
    ['test/net/listener.test.ts'],
  ),
  fault(
    'every connection that finds no descriptor writes a line',
    {
      file: 'src/daemon/spaced-lines.ts',
      find: 'nowMs - this.#writtenMs < SPACING_MS',
      replace: 'nowMs < 0',
    },
    ['test/daemon/spaced-lines.test.ts'],
  ),
  fault(
    'a number that is no longer a connection’s is read ahead for it',
    { file: AHEAD, find: ' || !reader.mayRead) return;', replace: ') return;' },
    ['test/net/batch-turns.test.ts'],
  ),
  fault(
    'what was read ahead for a connection that has been paused is lost',
    { file: AHEAD, find: 'if (!reader.mayRead) return;', replace: '' },
    ['test/net/batch-turns.test.ts'],
    {
      file: RAW,
      find: 'this.#take(chunk, count);\n  }',
      replace: 'if (this.mayRead) this.#take(chunk, count);\n  }',
    },
  ),
  fault(
    'a socket that waits for room and reads again is not told what was kept',
    { file: READINESS, find: 'if (reader != null && (interest', replace: 'if (reader === null && (interest' },
    ['test/net/batch-turns.test.ts'],
  ),
  fault(
    'an event for a connection that was closed is told to the next owner of its number',
    { file: READINESS, find: 'this.#tokens[fd] === this.#epoll.tokenAt(index) ?', replace: 'fd >= 0 ?' },
    ['test/net/readiness.test.ts'],
  ),
  fault(
    'a number is given away while events for it are still to be dealt with',
    {
      file: READINESS,
      find: 'if (this.#isDraining) this.#unclosed.push(fd);\n    else this.native.closeFd(fd);',
      replace: 'this.native.closeFd(fd);',
    },
    ['test/net/readiness.test.ts'],
  ),
  fault(
    'what has no room for more and was ended by that is read all the same',
    { file: READINESS, find: 'if (this.#readers[fd] !== reader) return;', replace: '' },
    ['test/net/readiness.test.ts'],
  ),
  fault(
    'a socket that was destroyed writes to whoever has its number now',
    {
      file: RAW,
      find: '    this.#unwatch(isOpen);\n    this.#fd = -1;',
      replace: '    this.#unwatch(isOpen);',
    },
    ['test/net/raw-socket.test.ts', 'test/net/conn.test.ts'],
  ),
  fault(
    'a descriptor that has become Node’s is closed by us, too',
    {
      file: RAW,
      find: 'this.#letGo(true);\n    if (queue !== null)',
      replace: 'if (queue !== null)',
    },
    ['test/net/raw-socket.test.ts'],
  ),
  fault(
    'what waits for a slow peer is lost when the connection goes over to TLS',
    { file: RAW, find: 'if (queue !== null) for (const bytes of queue) socket.write(bytes);', replace: '' },
    ['test/net/raw-socket.test.ts'],
  ),
  fault(
    'what the kernel took of a queued chunk is sent again',
    { file: RAW, find: 'queue[0] = (queue[0] as Buffer).subarray(left);', replace: '' },
    ['test/net/raw-socket.test.ts'],
  ),
  fault(
    'bytes overtake others that wait in a raw socket',
    {
      file: RAW,
      find: 'if (this.#queue === null) {\n      taken',
      replace: 'if (this.#fd >= 0) {\n      taken',
    },
    ['test/net/raw-socket.test.ts', 'test/net/conn.test.ts'],
    { file: RAW, find: 'this.#queue = [];', replace: 'this.#queue ??= [];' },
    { file: 'src/net/conn-writes.ts', find: 'if (this.current.writableLength > 0) return 0;', replace: '' },
  ),
  fault(
    'a peer that never reads makes a raw socket queue without end',
    {
      file: RAW,
      find: 'if (this.#queuedBytes < HIGH_WATER_MARK) return true;',
      replace: 'if (this.#queuedBytes >= 0) return true;',
    },
    ['test/integration/back-pressure.test.ts'],
  ),
  fault(
    'a writer that was asked to stop is never told to go on',
    { file: RAW, find: 'this.owner?.socketDrained();', replace: '' },
    ['test/net/raw-socket.test.ts'],
  ),
  fault(
    'a raw socket that was reset is taken for an open one',
    { file: RAW, find: "else if (count < -1) this.destroy(socketError('read', -count));", replace: '' },
    ['test/net/raw-socket.test.ts'],
  ),
  fault(
    'the end overtakes what waits for a slow peer',
    {
      file: RAW,
      find: 'if (this.#fd >= 0 && this.#queue === null) this.#finish();',
      replace: 'if (this.#fd >= 0) this.#finish();',
    },
    ['test/net/raw-socket.test.ts'],
  ),
  fault(
    'a listener without descriptors asks for connections over and over',
    { file: 'src/net/listening-socket.ts', find: '      this.#acceptor.rest();\n', replace: '' },
    ['test/net/listener.test.ts'],
  ),
  fault(
    'a flood of new connections starves those that are there',
    { file: 'src/net/acceptor.ts', find: 'ACCEPTS_AT_A_TIME = 8', replace: 'ACCEPTS_AT_A_TIME = 1e9' },
    ['test/net/raw-socket.test.ts'],
  ),
  fault(
    'whoever the kernel keeps back is not told of at once when they have spoken',
    {
      file: 'src/net/acceptor.ts',
      find: 'if (this.#isDeferred === true && socket.mayRead) socket.readable();',
      replace: '',
    },
    ['test/net/defer-accept.test.ts'],
  ),
  fault(
    'a listener that retires keeps those back whom it will never take',
    { file: 'src/net/listening-socket.ts', find: '    this.defer(false);\n', replace: '' },
    ['test/net/defer-accept.test.ts'],
  ),
  fault(
    'each lone connection is followed by the question for another',
    {
      file: 'src/net/acceptor.ts',
      find: 'this.#mayLack || asked === this.#lastAsked + 1',
      replace: 'true',
    },
    ['test/net/defer-accept.test.ts'],
  ),
  fault(
    'tcp_defer_accept is taken note of and not carried out',
    { file: 'src/daemon/pooler.ts', find: 'settings.tcp_defer_accept > 0,', replace: 'false,' },
    ['test/integration/tcp-options.test.ts'],
  ),
];
