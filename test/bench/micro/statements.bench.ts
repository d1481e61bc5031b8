import { test } from 'vitest';
import { ClientStatements } from '../../../src/prepared/client-statements.ts';
import { ServerStatements } from '../../../src/prepared/server-statements.ts';
import { type Statement, StatementCache } from '../../../src/prepared/statement.ts';
import { sink } from './sink.ts';

const counts = [1, 20, 200] as const;

function bodies(count: number): string[] {
  return Array.from(
    { length: count },
    (_, i) => `SELECT abalance FROM pgbench_accounts WHERE aid = $1 AND ${i} = ${i}\0\0\0`,
  );
}

function prepared(cache: StatementCache, count: number): Statement[] {
  return bodies(count).map((body) => cache.hold('parse', body));
}

test('a Bind: the name of the client, then whether the server has the statement', async ({ bench }) => {
  await bench.compare(
    ...counts.map((count) => {
      const cache = new StatementCache();
      const [client, server] = [new ClientStatements(cache), new ServerStatements(cache)];
      const names = prepared(cache, count).map((statement, i) => {
        client.set(`P0_${i}`, statement, 0).settle();
        server.add(statement, 0).settle();
        return `P0_${i}`;
      });
      let turn = 0;
      return bench(`${count} statements in turn`, () => {
        turn = (turn + 1) % names.length;
        const statement = client.get(names[turn] as string, 1);
        if (statement !== null && statement !== -1) sink.value += server.has(statement, 1) === true ? 1 : 0;
      });
    }),
  );
});

test('a Parse: the statement of a text', async ({ bench }) => {
  await bench.compare(
    ...counts.map((count) => {
      const cache = new StatementCache();
      prepared(cache, count);
      const texts = bodies(count).map((body) => Buffer.from(body));
      let turn = 0;
      return bench(`held by others, one of ${count}`, () => {
        turn = (turn + 1) % texts.length;
        const statement = cache.hold('parse', (texts[turn] as Buffer).toString('latin1'));
        sink.value += statement.users;
        cache.release(statement);
      });
    }),
    bench('new, and forgotten again', () => {
      const cache = forgetful;
      const statement = cache.hold('parse', 'SELECT 1\0\0\0');
      sink.value += statement.users;
      cache.release(statement);
    }),
  );
});

const forgetful = new StatementCache();

test('a statement that pushes another one out of a server', async ({ bench }) => {
  const limit = 200;
  const cache = new StatementCache();
  const server = new ServerStatements(cache);
  const statements = prepared(cache, limit + 1);
  for (const statement of statements.slice(0, limit)) server.add(statement, 0).settle();
  let next = limit;
  await bench(`beyond ${limit}`, () => {
    const statement = statements[next] as Statement;
    server.add(statement, 1).settle();
    const surplus = server.surplus(limit, new Set());
    if (surplus === null) throw new Error('nothing is pushed out');
    server.remove(surplus, 1).settle();
    next = statements.indexOf(surplus);
  }).run();
});
