import { AdminConsole, MAX_CONSOLE_BODY_BYTES } from '../../../src/admin/console.ts';
import { FramedReader } from '../../../src/wire/framed-reader.ts';
import { ProtocolViolation } from '../../../src/wire/pg-error.ts';
import { ask, decode, FakeControl } from '../../admin/fake-control.ts';
import { frontend } from '../../support/peer-messages.ts';
import { must, type Target } from '../target.ts';

/** Messages of a client of the console, one behind the other; only those of whom nothing is to be obeyed. */
const messages: Target = {
  name: 'console-messages',
  seeds: [
    Buffer.concat([
      frontend.parse('a', 'SHOW STATE'),
      frontend.bindFormats('p', 'a', [1]),
      frontend.describe('P', 'p'),
      frontend.execute('p', 2),
      frontend.close('S', 'a'),
      frontend.sync(),
    ]),
    Buffer.concat([
      frontend.query('BEGIN; SELECT 1'),
      frontend.query('SHOW nothing'),
      frontend.query('ROLLBACK'),
    ]),
    frontend.query("SELECT oid, typname FROM pg_type; SET a TO 'b'; DEALLOCATE ALL"),
    Buffer.concat([frontend.parse('', 'KILL a'), frontend.bindTexts('', '', ['x']), frontend.execute('')]),
  ],
  words: [
    'P\0\0\0',
    'B\0\0\0',
    'D\0\0\0\x06P\0',
    'E\0\0\0',
    'S\0\0\0\x04',
    'Q\0\0\0',
    '\0\0',
    'SHOW ',
    'SELECT ',
    ';',
    '$1',
  ],
  maxBytes: 4096,
  run: async (bytes) => {
    const control = new FakeControl();
    const log = { enabled: () => false, log: () => {} };
    const console = new AdminConsole({ role: 'stats', user: 'ann', control, log, version: 'v' });
    const { signal } = new AbortController();
    const read: [number, Buffer][] = [];
    const reader = new FramedReader(
      4 * MAX_CONSOLE_BODY_BYTES,
      () => true,
      (type, body) => {
        read.push([type, body]);
        return true;
      },
    );
    try {
      reader.feed(bytes, 0, bytes.length);
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) throw error;
    }
    let isSkipping = false;
    for (const [type, body] of read) {
      const reply = await ask(console, type, body, signal);
      const { types } = decode(reply.bytes);
      const letter = String.fromCharCode(type);
      if (letter === 'S') isSkipping = false;
      must(
        !isSkipping || types === '' || reply.closeReason !== null,
        'nothing is said between an error and Sync',
      );
      must(
        types.includes('Z') === ('QS'.includes(letter) && !isSkipping && reply.closeReason === null),
        'one ReadyForQuery',
      );
      must(types.split('E').length <= 2, 'one error at most');
      if (reply.closeReason !== null) break;
      if (letter !== 'Q' && types.includes('E')) isSkipping = true;
    }
    must(control.requests.length === 0, 'a user who may only look changes nothing');
  },
};

export const consoleTargets: readonly Target[] = [messages];
