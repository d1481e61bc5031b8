import QueryStream from 'pg-query-stream';
import { expect, test } from 'vitest';
import { expectLargeResult, type Row, testDriver } from './kit.ts';
import { inTransaction, PgUsers, type Queryable, sessionOn } from './pg-kit.ts';

/** Every statement with parameters is read as a stream. */
class StreamUsers extends PgUsers {
  protected override readonly run = async (client: Queryable, text: string, values?: readonly unknown[]) => {
    if (values === undefined) return (await client.query<Row>(text)).rows;
    const rows: Row[] = [];
    for await (const row of client.query(new QueryStream(text, [...values]))) rows.push(row);
    return rows;
  };
}

testDriver(
  {
    name: 'pg-query-stream',
    named: false,
    open: async (target, connections) => new StreamUsers(target, connections),
  },
  (running) => {
    test('two streams at once each bring their own rows', async () => {
      await running().use(async (users) => {
        const read = () =>
          users.withClient(async (client) => {
            const text = "SELECT i, repeat('ä', i % 200) AS pad FROM generate_series(1, 20000) AS i";
            const rows: Row[] = [];
            for await (const row of client.query(new QueryStream(text, [], { batchSize: 500 })))
              rows.push(row);
            return rows;
          });
        for (const rows of await Promise.all([read(), read()])) expectLargeResult(rows);
      }, 2);
    });

    test('a stream that is destroyed early leaves its transaction and connection usable', async () => {
      await running().use((users) =>
        users.withClient((client) =>
          inTransaction(client, async () => {
            const stream = client.query(new QueryStream('SELECT i FROM generate_series(1, 100000) AS i'));
            for await (const row of stream) {
              expect(row).toEqual({ i: 1 });
              break;
            }
            expect((await sessionOn(client).twice(8))[0]?.['twice']).toBe(16);
          }),
        ),
      );
    });
  },
);
