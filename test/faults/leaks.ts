import { type Fault, fault } from './fault.ts';

const TESTS = ['test/load/leak.test.ts'] as const;

/** What stays behind of clients that are gone. */
export const leakFaults: readonly Fault[] = [
  fault(
    'the cancel keys of clients that are gone are kept',
    {
      file: 'src/daemon/client-services.ts',
      find: 'state.cancelKeys.revoke(session.cancelKey);',
      replace: '',
    },
    TESTS,
  ),
  fault(
    'connections that are closed are kept',
    {
      file: 'src/daemon/client-services.ts',
      find: 'connectionGone: (connection) => state.connections.delete(connection)',
      replace: 'connectionGone: (connection) => state.connections.has(connection)',
    },
    TESTS,
  ),
  fault(
    'texts of statements that nobody has any more are kept',
    {
      file: 'src/prepared/statement.ts',
      find: 'this.#byKey.delete(statement.key);',
      replace: '',
    },
    TESTS,
  ),
  fault(
    'a buffer that has held a large message is kept for the next one',
    {
      file: 'src/client/held-bytes.ts',
      find: 'if (buffer.length === FIRST_BYTES && spares.length < MAX_SPARES)',
      replace: 'if (spares.length < MAX_SPARES)',
    },
    ['test/load/large-messages.test.ts'],
  ),
  fault(
    'databases that are none are kept',
    {
      file: 'src/daemon/janitor.ts',
      find: 'for (const name of isGone) state.databases.remove(name);',
      replace: '',
    },
    TESTS,
  ),
  fault(
    'the young heap stays as small as V8 has made it when there was nothing to do',
    {
      file: 'src/base/young-heap.ts',
      find: 'if (isGrown === isBound) return;',
      replace: 'if (isBound || !isGrown) return;',
    },
    ['test/base/young-heap.test.ts'],
  ),
  fault(
    'the young heap of a thread grows as far as V8 likes',
    {
      file: 'src/base/young-heap.ts',
      find: 'YOUNG_MIB = 3 * HALF_MIB;',
      replace: 'YOUNG_MIB = 12 * HALF_MIB;',
    },
    ['test/base/young-heap.test.ts'],
  ),
];
