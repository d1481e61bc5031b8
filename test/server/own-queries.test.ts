import { expect, it } from 'vitest';
import { OwnQueries, type OwnQueryHost } from '../../src/server/own-queries.ts';
import type { OwnQueryResult } from '../../src/server/own-query.ts';
import type { ByteReader } from '../../src/wire/framed-reader.ts';
import { query } from '../../src/wire/frontend.ts';
import { cuttings, feedBorrowed } from '../support/cut.ts';
import { backend as b } from '../support/peer-messages.ts';

const ready = b.readyForQuery;
const set = b.commandComplete('SET');
const failed = (text: string) => b.errorResponse({ S: 'ERROR', C: '22023', M: text });

it.each<readonly [string, Buffer[], string | undefined, boolean]>([
  ['both done', [set, ready(), set, ready()], undefined, true],
  ['the first fails', [failed('one'), ready(), set, ready()], 'one', true],
  ['the second fails', [set, ready(), failed('two'), ready()], 'two', true],
  ['both fail', [failed('one'), ready(), failed('two'), ready()], 'one', true],
  ['in a transaction', [set, ready('T'), set, ready('T')], undefined, false],
])('queries sent together end together, cut anywhere: %s', (_what, answers, text, isIdle) => {
  const bytes = Buffer.concat(answers);
  for (const { chunks } of cuttings(bytes)) {
    const written: Buffer[] = [];
    const results: OwnQueryResult[] = [];
    let reader: ByteReader | null = null;
    const host: OwnQueryHost = {
      conn: { write: (message) => written.push(message) > 0 },
      read: (next) => {
        reader = next;
      },
      log: () => {},
      sink: null,
      parameterStatus: () => {},
      sessionTag: () => {},
    };
    const own = new OwnQueries(host);
    own.runAll('not done', ['one', 'two'], (result) => results.push(result));
    expect(Buffer.concat(written)).toEqual(Buffer.concat([query('one'), query('two')]));
    let read = 0;
    feedBorrowed(chunks, (chunk) => {
      let pos = 0;
      while (pos < chunk.length) {
        expect(results).toEqual([]);
        expect(own.isRunning).toBe(true);
        pos = (reader as unknown as ByteReader).feed(chunk, pos, chunk.length);
      }
      read += pos;
    });
    expect(read).toBe(bytes.length);
    expect(results.map(({ error, isIdle: idle }) => [error?.message, idle])).toEqual([[text, isIdle]]);
    expect(own.isRunning).toBe(false);
  }
});
