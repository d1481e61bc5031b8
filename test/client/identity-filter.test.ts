import { expect, it } from 'vitest';
import { IdentityFilter } from '../../src/client/identity-filter.ts';
import { lookAtText } from '../../src/client/sql-text.ts';
import type { StatementHost, StatementServer } from '../../src/client/statement-sender.ts';
import { RequestTracker } from '../../src/relay/request-tracker.ts';
import { RunWriter } from '../../src/relay/run-writer.ts';
import { FrontendType as F, HEADER_BYTES } from '../../src/wire/codes.ts';
import { frontend } from '../support/peer-messages.ts';

const PIECE = 16 * 1024;

/** Whether the server is closed behind a Parse that comes in pieces of so many bytes. */
function isClosedBehind(message: Buffer, piece = PIECE): boolean {
  const server = { tracker: new RequestTracker(), closeNeeded: false };
  const reading = { standardConformingStrings: true, clientEncoding: 'UTF8', values: [] };
  const filter = new IdentityFilter({
    server: server as unknown as StatementServer,
    reading,
  } as unknown as StatementHost);
  const bodyBytes = message.length - HEADER_BYTES;
  for (let have = 0; ; have = Math.min(have + piece, bodyBytes)) {
    const end = HEADER_BYTES + have;
    const need = filter.look(F.Parse, message, HEADER_BYTES, end, bodyBytes);
    if (need > have) continue;
    if (need > 0) {
      const out = new RunWriter();
      out.start(null);
      filter.pass(F.Parse, message, HEADER_BYTES, HEADER_BYTES + need, bodyBytes, out);
      out.finish(message, 0, 0);
      expect(server.tracker.queue.length).toBe(1);
    }
    return server.closeNeeded;
  }
}

it.each([
  ['an ordinary one', 'a', 'SELECT 1', false],
  ['one for another user', 'a', 'SET ROLE somebody', true],
  ['a long one', '', `SELECT '${'x'.repeat(200_000)}'`, false],
  ['a long one for another user', '', `SET ROLE somebody --${'x'.repeat(200_000)}`, true],
  ['one for another user behind a long name', 'x'.repeat(30_000), 'SET ROLE somebody', true],
  ['an ordinary one behind a long name', 'x'.repeat(30_000), `SELECT '${'x'.repeat(200_000)}'`, false],
  ['any behind a name that is not in sight', 'SELECT '.repeat(20_000), 'SET ROLE somebody', true],
])('behind %s a server is closed as its text says', (_what, name, text, isClosed) => {
  for (const piece of [1000, PIECE]) expect(isClosedBehind(frontend.parse(name, text), piece)).toBe(isClosed);
});

it.each([
  ['a SET', 'SET ROLE somebody', 1],
  ['what is not in sight', `--${'x'.repeat(100)}`, 1],
  ['another statement', `SELECT '${'x'.repeat(100)}`, 0],
])('a text that nobody reads, for its length, passes as one that begins with %s', (_what, text, need) => {
  const bytes = Buffer.from(text);
  expect(lookAtText(bytes, 0, bytes.length, 0, 65 * 1024 * 1024, false)).toBe(need);
});
