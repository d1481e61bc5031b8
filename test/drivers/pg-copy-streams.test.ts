import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { from, to } from 'pg-copy-streams';
import { expect, test } from 'vitest';
import { testDriver } from './kit.ts';
import { cancelled, inTransaction, PgUsers, sessionOn } from './pg-kit.ts';

const ROWS = 20_000;

/** Lines of COPY's text format. */
function* lines(): Generator<string> {
  for (let id = 1; id <= ROWS; id++) yield `${id}\tзначение ${id}\n`;
}

/** What is cancelled is a COPY. */
class CopyUsers extends PgUsers {
  override cancel(text: string, running: () => Promise<unknown>): Promise<unknown> {
    return this.withClient((client) => {
      const copied = client.query(to(`COPY (${text}) TO STDOUT`));
      return cancelled(copied.toArray(), client, running);
    });
  }
}

testDriver(
  {
    name: 'pg-copy-streams',
    named: true,
    open: async (target, connections) => new CopyUsers(target, connections),
  },
  (running) => {
    test('COPY FROM STDIN and COPY TO STDOUT bring all rows, amid named statements', async () => {
      const { use, direct } = running();
      await direct.query('TRUNCATE samples');
      await use((users) =>
        users.withClient(async (client) => {
          const session = sessionOn(client);
          for (const n of [1, 2]) expect((await session.twice(n))[0]?.['twice']).toBe(n * 2);
          await pipeline(Readable.from(lines()), client.query(from('COPY samples (id, body) FROM STDIN')));
          expect((await session.twice(3))[0]?.['twice']).toBe(6);
          const chunks: Buffer[] = [];
          const copied = client.query(to('COPY (SELECT id, body FROM samples ORDER BY id) TO STDOUT'));
          for await (const chunk of copied) chunks.push(chunk);
          expect(Buffer.concat(chunks).toString() === [...lines()].join('')).toBe(true);
          expect((await session.twice(4))[0]?.['twice']).toBe(8);
        }),
      );
      const { rows } = await direct.query('SELECT count(*)::int AS n, sum(id)::int AS sum FROM samples');
      expect(rows).toEqual([{ n: ROWS, sum: (ROWS * (ROWS + 1)) / 2 }]);
    });

    test('a line that is wrong fails COPY and its transaction, and the connection goes on', async () => {
      const { use, direct, failure } = running();
      await direct.query('TRUNCATE samples');
      await use((users) =>
        users.withClient(async (client) => {
          const copying = inTransaction(client, () =>
            pipeline(
              Readable.from(['1\tone\n', 'two\t\n']),
              client.query(from('COPY samples (id, body) FROM STDIN')),
            ),
          );
          expect(await failure(copying)).toBe('22P02');
          expect((await sessionOn(client).twice(9))[0]?.['twice']).toBe(18);
        }),
      );
      expect((await direct.query('SELECT 1 FROM samples')).rowCount).toBe(0);
    });

    test('COPY that its client gives up stores nothing, and the connection goes on', async () => {
      const { use, direct, failure } = running();
      await direct.query('TRUNCATE samples');
      await use((users) =>
        users.withClient(async (client) => {
          const stream = client.query(from('COPY samples (id, body) FROM STDIN'));
          const ended = new Promise((resolve, reject) => stream.on('close', resolve).on('error', reject));
          stream.write('1\tone\n');
          stream.destroy(new Error('given up'));
          expect(await failure(ended)).toBe('57014');
          expect((await sessionOn(client).twice(10))[0]?.['twice']).toBe(20);
        }),
      );
      expect((await direct.query('SELECT 1 FROM samples')).rowCount).toBe(0);
    });

    test('20 users copy in and out at once', async () => {
      const { use, direct, mode } = running();
      await direct.query('TRUNCATE samples');
      const work = (users: PgUsers, n: number) =>
        users.withClient(async (client) => {
          const rows = Array.from({ length: 100 }, (_, i) => `${n * 1000 + i}\tuser ${n}\n`);
          await pipeline(Readable.from(rows), client.query(from('COPY samples (id, body) FROM STDIN')));
          const chunks: Buffer[] = [];
          const text = `COPY (SELECT id, body FROM samples WHERE body = 'user ${n}' ORDER BY id) TO STDOUT`;
          for await (const chunk of client.query(to(text))) chunks.push(chunk);
          expect(Buffer.concat(chunks).toString()).toBe(rows.join(''));
        });
      const crowd = (worker: (n: number) => Promise<void>) =>
        Promise.all(Array.from({ length: 20 }, (_, n) => worker(n)));
      if (mode === 'session') await crowd((n) => use((users) => work(users, n)));
      else await use((users) => crowd((n) => work(users, n)), 20);
      expect((await direct.query('SELECT count(*)::int AS n FROM samples')).rows).toEqual([{ n: 2000 }]);
    });
  },
);
