import Cursor from 'pg-cursor';
import { expect, test } from 'vitest';
import { expectLargeResult, type Row, testDriver } from './kit.ts';
import { inTransaction, PgUsers, type Queryable, sessionOn } from './pg-kit.ts';

/** Every statement with parameters is read through a cursor, in portions, and the cursor closed. */
class CursorUsers extends PgUsers {
  protected override readonly run = async (client: Queryable, text: string, values?: readonly unknown[]) => {
    if (values === undefined) return (await client.query<Row>(text)).rows;
    const cursor = client.query(new Cursor<Row>(text, [...values]));
    const rows: Row[] = [];
    for (;;) {
      const portion = await cursor.read(999);
      if (portion.length === 0) break;
      rows.push(...portion);
    }
    await cursor.close();
    return rows;
  };
}

testDriver(
  {
    name: 'pg-cursor',
    named: false,
    open: async (target, connections) => new CursorUsers(target, connections),
  },
  (running) => {
    test('a cursor stays on its server between portions while others wait', async () => {
      const { use } = running();
      await use(
        (users) =>
          users.withClient(async (client) => {
            const cursor = client.query(
              new Cursor<Row>(
                "SELECT i, repeat('ä', i % 200) AS pad, pg_backend_pid() AS pid FROM generate_series(1, 20000) i",
              ),
            );
            const rows: Row[] = [];
            for (;;) {
              const portion = await cursor.read(5000);
              if (portion.length === 0) break;
              rows.push(...portion);
              // Somebody else on the other server.
              expect((await users.twice(rows.length))[0]?.['twice']).toBe(rows.length * 2);
            }
            await cursor.close();
            expectLargeResult(rows);
            expect(new Set(rows.map((row) => row['pid'])).size).toBe(1);
          }),
        2,
      );
    });

    test('a cursor that is closed early leaves its transaction and connection usable', async () => {
      await running().use((users) =>
        users.withClient((client) =>
          inTransaction(client, async () => {
            const cursor = client.query(new Cursor<Row>('SELECT i FROM generate_series(1, 100000) AS i'));
            expect(await cursor.read(2)).toEqual([{ i: 1 }, { i: 2 }]);
            await cursor.close();
            expect((await sessionOn(client).twice(7))[0]?.['twice']).toBe(14);
          }),
        ),
      );
    });
  },
);
