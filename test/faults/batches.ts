import { type Fault, fault } from './fault.ts';

const READINESS = 'src/net/readiness.ts';
const PROCESSOR = 'src/net/processor-yield.ts';
const AHEAD = 'src/net/read-ahead.ts';
const BATCH = 'src/net/write-batch.ts';
const WRITES = 'src/net/conn-writes.ts';
const CONN = 'src/net/conn.ts';
const OF_READS: Fault['tests'] = ['test/net/read-ahead.test.ts'];
const OF_WRITES: Fault['tests'] = ['test/net/write-batch.test.ts'];
const OF_CALLS: Fault['tests'] = ['test/net/native-batch.test.ts'];

/** What is read ahead of its turn, and what waits to be written with others'. */
export const batchFaults: readonly Fault[] = [
  fault(
    'what was read ahead for one that was paused meanwhile is lost',
    {
      file: AHEAD,
      find: 'if (count > 0)\n      (reader.ahead',
      replace: 'if (count < -1)\n      (reader.ahead',
    },
    OF_READS,
  ),
  fault(
    'of two that take turns the heir of a number is read out of turn',
    {
      file: READINESS,
      find: 'this.#tokens[fd] === token ? this.#readers[fd] : null',
      replace: 'this.#readers[fd]',
    },
    ['test/net/readiness.test.ts'],
  ),
  fault(
    'of two that take turns one is read that may not read',
    { file: READINESS, find: 'if (reader?.mayRead === true) {', replace: 'if (reader != null) {' },
    ['test/net/readiness.test.ts'],
  ),
  fault(
    'two that take turns leave nobody else a turn',
    { file: 'src/net/alternation.ts', find: 'if (this.#left === 0) {', replace: 'if (this.#left < 0) {' },
    ['test/net/readiness.test.ts'],
  ),
  fault(
    'one that says some things in a row is asked for more ahead of its server',
    {
      file: 'src/net/alternation.ts',
      find: 'this.#other === this.#last ? PROVEN_ALONE : PROVEN',
      replace: 'PROVEN',
    },
    ['test/net/readiness.test.ts'],
  ),
  fault(
    'two that took turns once are believed to do so for ever',
    {
      file: 'src/net/alternation.ts',
      find: '  end(): void {\n    this.#streak = 0;',
      replace: '  end(): void {',
    },
    ['test/net/readiness.test.ts'],
  ),
  fault(
    'the processor is yielded, although one alone was ready',
    { file: READINESS, find: 'if (this.#isCrowded) this.', replace: 'this.' },
    ['test/net/readiness.test.ts'],
  ),
  fault(
    'the processor is never yielded',
    { file: READINESS, find: '      if (this.#isCrowded) this.#processor.yield();\n', replace: '' },
    ['test/net/readiness.test.ts'],
  ),
  fault(
    'the processor goes to those who compute again and again',
    { file: PROCESSOR, find: '    if (startMs < this.#keptUntilMs) return;\n', replace: '' },
    ['test/net/processor-yield.test.ts'],
  ),
  fault(
    'the processor is kept longer each time, although it came back at once meanwhile',
    { file: PROCESSOR, find: '      this.#keptMs = FIRST_KEPT_MS;\n', replace: '' },
    ['test/net/processor-yield.test.ts'],
  ),
  fault(
    'newer bytes overtake those that were kept',
    { file: AHEAD, find: '|| ahead.kept !== null ', replace: '' },
    OF_READS,
  ),
  fault(
    'what was read in another one’s turn is told once more',
    { file: AHEAD, find: '    ahead.slot = -1;\n', replace: '' },
    OF_READS,
  ),
  fault(
    'one that goes on in the round in which it was paused waits for its peer to say more',
    { file: READINESS, find: 'if (this.#readers[fd] === reader) this.#tellSoon(fd, reader);', replace: '' },
    OF_READS,
  ),
  fault(
    'one that goes on is not told what was kept',
    {
      file: READINESS,
      find: 'if (reader.ahead !== null && reader.ahead.kept !== null) this.#tellSoon(fd, reader);',
      replace: '',
    },
    OF_READS,
  ),
  fault(
    'a stream that takes over begins behind what was read ahead',
    {
      file: CONN,
      find: 'if (!this.current.destroyed) this.#giveUnread(this.current as Socket);',
      replace: '',
    },
    OF_READS,
  ),
  fault(
    'what was read ahead is lost where a connection goes over to TLS',
    { file: CONN, find: '    this.#giveUnread(plain);\n', replace: '' },
    OF_READS,
  ),
  fault(
    'bytes are put behind what waits of somebody else',
    { file: BATCH, find: 'isSmall && batched === batch.writeCount - 1 &&', replace: 'isSmall &&' },
    OF_WRITES,
  ),
  fault(
    'bytes overtake those that wait to be written with others’',
    { file: BATCH, find: '      this.flush();\n      return false;', replace: '      return false;' },
    OF_WRITES,
  ),
  fault(
    'what waits of a connection that is closed is written to who has its number now',
    { file: BATCH, find: 'if (!writer.isClosed) open++;', replace: 'open++;' },
    OF_WRITES,
    { file: BATCH, find: 'if (writer.isClosed) continue;', replace: '' },
  ),
  fault(
    'what the kernel did not take of a batch is queued from another one’s bytes',
    {
      file: WRITES,
      find: 'this.current.write(Buffer.from(bytes.subarray(start + taken, end)));',
      replace: 'this.current.write(Buffer.from(bytes.subarray(taken, end - start)));',
    },
    OF_WRITES,
  ),
  fault(
    'what the kernel did not take of a batch is queued where the next one is put together',
    {
      file: WRITES,
      find: 'this.current.write(Buffer.from(bytes.subarray(start + taken, end)));',
      replace: 'this.current.write(bytes.subarray(start + taken, end));',
    },
    OF_WRITES,
  ),
  fault(
    'bytes that wait to be written with others’ do not count',
    {
      file: WRITES,
      find: '    this.settle();\n    return this.current.writableLength;',
      replace: '    return this.current.writableLength;',
    },
    OF_WRITES,
  ),
  fault(
    'the end, and the last words, overtake what waits to be written with others’',
    {
      file: 'src/net/conn-writes.ts',
      find: 'protected writeLast(last: Buffer | undefined): void {\n    this.settle();',
      replace: 'protected writeLast(last: Buffer | undefined): void {',
    },
    OF_WRITES,
  ),
  fault(
    'a connection is cut ahead of what waits to be written with others’',
    {
      file: 'src/net/conn-writes.ts',
      find: 'destroy(): void {\n    this.settle();',
      replace: 'destroy(): void {',
    },
    OF_WRITES,
  ),
  fault(
    'a handshake overtakes what waits to be written in the clear',
    {
      file: CONN,
      find: 'if (this.current.destroyed) return;\n    this.settle();',
      replace: 'if (this.current.destroyed) return;',
    },
    OF_WRITES,
  ),
  fault(
    'what stands behind a closed descriptor in a batch gets the answer of an earlier one',
    { file: 'src/net/native-batch.ts', find: 'results.fill(NOTHING, 0, count);', replace: '' },
    OF_CALLS,
  ),
  fault(
    'the errno of a batch says that all is well',
    {
      file: 'src/net/native-batch.ts',
      find: 'const isNothing = result < 0 && ',
      replace: 'const isNothing = result < 0 || ',
    },
    OF_CALLS,
  ),
  {
    ...fault(
      'what the kernel keeps for the batches of a thread stays when that dies',
      {
        file: 'src/daemon/workforce.ts',
        find: 'if (batchContext !== null) batches.endContext(batchContext);',
        replace: '',
      },
      ['test/integration/threads.test.ts'],
    ),
    // With which a thread is ended.
    seed: 1,
  },
];
