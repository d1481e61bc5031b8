import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Postgres } from '../../src/cli/start/postgres.ts';
import { openNative } from '../../src/net/native.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { frontend, message } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { connectTo, startPostgres, withClient } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { connectAndLogin, type ScriptedPeer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';

const login = { user: 'stalled', database: 'postgres' };
const withoutNative = openNative(() => {
  throw new Error('no library');
});

let postgres: Postgres;
beforeAll(async () => {
  postgres = await startPostgres();
  await createRole(postgres.address, { name: 'stalled', auth: 'trust' });
  await withClient(postgres.address, (client) =>
    client.query('CREATE TABLE sink (line text); GRANT ALL ON sink TO stalled'),
  );
});
afterAll(() => postgres[Symbol.asyncDispose]());

/**
 * A client that sends a COPY and far more data than anybody will take while `sink` is locked, so that the
 * pooler stops reading it.
 */
async function stallInCopy(pooler: LocalPooler): Promise<ScriptedPeer> {
  const peer = await connectAndLogin(pooler.port, login);
  const line = message('d', Buffer.alloc(8000, 'x'), '\n');
  const sending = peer.send(
    frontend.query('COPY sink FROM STDIN'),
    Buffer.concat(new Array(4000).fill(line)),
  );
  // It will never be sent whole.
  sending.catch(() => {});
  await waitFor(() => {
    const session = [...pooler.pooler.state.sessions.values()][0];
    return session !== undefined && session.server !== null && session.conn.isPaused;
  });
  return peer;
}

async function backends(): Promise<number> {
  return withClient(postgres.address, async (client) => {
    const { rows } = await client.query<{ n: number }>(
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = 'stalled'",
    );
    return rows[0]?.n ?? 0;
  });
}

describe('a linked client that is not read, for its server does not read either, and that vanishes', () => {
  test('is found by the native call, its query is cancelled and the slot comes back', async () => {
    const locker = await connectTo(postgres.address);
    await using _ended = { [Symbol.asyncDispose]: () => locker.end() };
    await locker.query('BEGIN; LOCK TABLE sink');
    const clock = new ManualClock();
    await using pooler = await startPooler({ postgres: postgres.address, clock, userlist: { stalled: '' } });
    const peer = await stallInCopy(pooler);
    peer.reset();
    // A moment passes between the first look and the verdict: what was sent may still be on its way.
    const sweepsFind = async (text: string) =>
      waitFor(() => {
        clock.advance(2000);
        return pooler.lines.some((entry) => entry.includes(text));
      });
    await sweepsFind('closing because: client unexpected eof');
    await sweepsFind('closing because: client disconnect while server was not ready');
    await waitFor(async () => {
      clock.advance(500);
      return (await backends()) === 0;
    });
    await waitFor(() => pooler.pooler.state.budget.count('server') === 0);
    expect(pooler.pooler.state.budget.count('client')).toBe(0);
    await locker.query('ROLLBACK');
  });

  test('is found when reading goes on, without native calls', async () => {
    const locker = await connectTo(postgres.address);
    await using _ended = { [Symbol.asyncDispose]: () => locker.end() };
    await locker.query('BEGIN; LOCK TABLE sink');
    await using pooler = await startPooler({
      postgres: postgres.address,
      native: withoutNative,
      userlist: { stalled: '' },
    });
    const peer = await stallInCopy(pooler);
    await peer.close();
    expect(pooler.lines.join('\n')).not.toContain('client unexpected eof');
    await locker.query('ROLLBACK');
    await waitFor(() =>
      pooler.lines.some((entry) => entry.includes('closing because: client unexpected eof')),
    );
    await waitFor(() => pooler.pooler.state.budget.count('server') === 0);
    expect(await backends()).toBe(0);
  });
});

test('a client that asks on and on and does not read holds no server and no memory, and loses nothing', async () => {
  // Small enough to leave PostgreSQL in one piece: no answer is under way when the client's buffers are full.
  const answerBytes = 7000;
  await using pooler = await startPooler({
    postgres: postgres.address,
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    userlist: { stalled: '' },
  });
  const peer = await connectAndLogin(pooler.port, login);
  peer.stall();
  const session = await waitFor(() => [...pooler.pooler.state.sessions.values()][0]);
  let asked = 0;
  const ask = async () => {
    asked++;
    await peer.send(frontend.query(`SELECT repeat('x', ${answerBytes})`));
  };
  while (!session.conn.isCongested) {
    const answered = session.pool.stats.queryCount;
    await ask();
    await waitFor(() => session.pool.stats.queryCount > answered && session.server === null);
    expect(asked).toBeLessThan(5000);
  }
  // What it asks for now waits, without a server.
  const pending = session.conn.pendingBytes;
  for (let i = 0; i < 5; i++) await ask();
  await waitFor(() => session.heldBytes > 0);
  expect(session.server).toBe(null);
  expect(session.conn.pendingBytes).toBe(pending);
  const other = await pooler.client({ user: 'stalled' });
  expect((await other.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  await other.end();
  peer.resume();
  for (let done = 0; done < asked; done++) {
    const rows = (await peer.messagesTo('Z')).filter(({ type }) => type === 'D');
    expect(rows.map(({ body }) => body.length)).toEqual([2 + 4 + answerBytes]);
  }
  await peer.close();
});
