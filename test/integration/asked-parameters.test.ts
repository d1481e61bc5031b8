import { beforeAll, describe, expect, test } from 'vitest';
import type { ClientSession } from '../../src/client/session.ts';
import { askingSql } from '../../src/server/asked-values.ts';
import { isAsking } from '../support/parameter-stage.ts';
import { backend, errorFields, frontend, message } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { answerToProbe } from '../support/probe.ts';
import { createRole } from '../support/roles.ts';
import { connectAndLogin, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';

const ROLE = 'asked_parameters';
/** Soon full. */
const SMALL = { tcp_socket_buffer: 16_384 };
const TRACKED = { track_extra_parameters: 'IntervalStyle, work_mem, search_path, app.tenant' };

beforeAll(() => createRole(sharedPostgres(), { name: ROLE, auth: 'trust' }));

/** A pooler in front of a server that the test plays: one that has just been asked for a client's parameters. */
class Asked implements AsyncDisposable {
  readonly server: ScriptedServer;
  readonly pooler: LocalPooler;

  private constructor(server: ScriptedServer, pooler: LocalPooler) {
    this.server = server;
    this.pooler = pooler;
  }

  static async set(
    pool_mode = 'transaction',
    sql = "SET work_mem = '2345kB'",
    given: Readonly<Record<string, string>> = {},
  ): Promise<{ stage: Asked; client: ScriptedPeer; peer: ScriptedPeer }> {
    const server = await ScriptedServer.listen();
    const pooler = await startPooler({
      settings: { pool_mode, default_pool_size: 1, server_login_retry: 0, ...SMALL, ...TRACKED },
      databases: { scripted: `host=127.0.0.1 port=${server.port}` },
      userlist: { [ROLE]: '' },
    });
    const stage = new Asked(server, pooler);
    const [client, peer] = await Promise.all([
      stage.login(given),
      server.acceptLogin().then(async (accepted) => {
        expect(isAsking((await accepted.message('Q')).body.toString())).toBe(true);
        await accepted.send(ASKED('default'));
        return accepted;
      }),
    ]);
    await client.send(frontend.query(sql));
    if (Object.keys(given).length > 0) {
      expect((await peer.message('Q')).body.toString()).toContain('set_config');
      await peer.send(backend.commandComplete('SELECT 1'), backend.readyForQuery());
    }
    await peer.message('Q');
    await peer.send(backend.commandComplete(sql.split(' ')[0] as string), backend.readyForQuery());
    expect((await client.messagesTo('Z')).map(({ type }) => type)).toEqual(['C', 'Z']);
    expect(isAsking((await peer.message('Q')).body.toString())).toBe(true);
    return { stage, client, peer };
  }

  login(given: Readonly<Record<string, string>> = {}): Promise<ScriptedPeer> {
    return connectAndLogin(this.pooler.port, { user: ROLE, database: 'scripted', ...given });
  }

  session(): Promise<ClientSession> {
    return waitFor(() => [...this.pooler.pooler.state.sessions.values()][0]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pooler[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
    expect(this.pooler.lines.filter((line) => line.includes('internal error'))).toEqual([]);
  }
}

/** The answer to what asks for parameters. */
const ASKED = (source: string) =>
  Buffer.concat([
    backend.commandComplete('BEGIN'),
    backend.rowDescription('n', 'encode', 'source'),
    backend.dataRow('work_mem', Buffer.from('2345kB').toString('hex'), source),
    backend.dataRow('search_path', '', 'default'),
    backend.dataRow('app.tenant', '', 'default'),
    backend.commandComplete('SELECT 3'),
    backend.commandComplete('COMMIT'),
    backend.readyForQuery(),
  ]);

/** The client sets something, or resets it (`tag`), and gets a long row; all of it in one chunk. The server is asked then. */
async function answersAtLength(
  client: ScriptedPeer,
  peer: ScriptedPeer,
  tag: 'SET' | 'RESET',
): Promise<void> {
  await client.send(
    frontend.query(`${tag === 'SET' ? "SET work_mem = '2345kB'" : 'RESET work_mem'}; SELECT 1`),
  );
  await peer.message('Q');
  await peer.send(
    backend.commandComplete(tag),
    backend.dataRow('x'.repeat(7000)),
    backend.commandComplete('SELECT 1'),
    backend.readyForQuery(),
  );
  expect(isAsking((await peer.message('Q')).body.toString())).toBe(true);
}

const ENDING = backend.errorResponse({ S: 'FATAL', V: 'FATAL', C: '57P01', M: 'terminating' });
/** What asks again. */
const AGAIN = /^ROLLBACK;BEGIN ISOLATION LEVEL READ COMMITTED;/;
const CANCELLED = backend.errorResponse({
  S: 'ERROR',
  C: '57014',
  M: 'canceling statement due to user request',
});

describe('a server that is asked for parameters', () => {
  test('and ends its connection takes the client with it, whose parameters nobody knows now', async () => {
    const { stage, client, peer } = await Asked.set();
    await using _ = stage;
    await peer.close();
    expect(errorFields((await client.message('E')).body)).toMatchObject({
      S: 'FATAL',
      M: 'server conn crashed?',
    });
    await client.end();
  });

  test('and says why it ends its connection says so to the client, too, and to the log', async () => {
    const { stage, client, peer } = await Asked.set();
    await using _ = stage;
    await peer.send(ENDING);
    await peer.close();
    const [first, second] = [await client.message('E'), await client.message('E')];
    expect(errorFields(first.body)).toMatchObject({ S: 'FATAL', C: '57P01', M: 'terminating' });
    expect(errorFields(second.body)['M']).toBe('server conn crashed?');
    await client.end();
    const lines = stage.pooler.lines.filter((line) => line.includes('terminating'));
    expect(lines).toEqual([expect.stringContaining('asking for parameters failed: FATAL: terminating')]);
  });

  test('and answers anything else is closed, and so is the client', async () => {
    for (const row of [
      backend.dataRow('work_mem'),
      message('D', Buffer.of(0, 3, 0, 0, 0, 9)),
      message('D'),
    ]) {
      const { stage, client, peer } = await Asked.set();
      await using _ = stage;
      await peer.send(row);
      expect((await client.message('E')).type).toBe('E');
      await peer.message('X');
    }
  });

  test('is of use to the next client when the client leaves meanwhile', async () => {
    const { stage, client, peer } = await Asked.set();
    await using _ = stage;
    await client.close();
    // What it still answers is told apart from what comes behind.
    const fence = (await peer.message('Q')).body.toString();
    await peer.send(ASKED('session'), answerToProbe(fence));
    const next = await stage.login();
    await next.send(frontend.query('SELECT 1'));
    // Nobody has heard what it said: it is made sure of.
    for (const [sql, tag] of [
      ['RESET work_mem;', 'RESET'],
      ['SELECT 1', 'SELECT 0'],
    ] as const) {
      expect((await peer.message('Q')).body.toString()).toContain(sql);
      await peer.send(backend.commandComplete(tag), backend.readyForQuery());
    }
    expect((await next.messagesTo('Z')).map(({ type }) => type)).toEqual(['C', 'Z']);
    expect(stage.server.accepted).toBe(1);
  });

  test('is read though its client takes nothing of its answers: the next one gets it', async () => {
    const { stage, client, peer } = await Asked.set();
    await using _ = stage;
    await peer.send(ASKED('session'));
    const session = await stage.session();
    await waitFor(() => session.server === null);
    client.stall();
    for (let asked = 0; !session.conn.isCongested; asked++) {
      expect(asked).toBeLessThan(5000);
      await answersAtLength(client, peer, 'SET');
      await peer.send(ASKED('session'));
      await waitFor(() => session.server === null);
    }
  });

  test('in session mode is read no further for that than to what it was asked for', async () => {
    const { stage, client, peer } = await Asked.set('session', 'RESET work_mem');
    await using _ = stage;
    await peer.send(ASKED('default'));
    const session = await stage.session();
    const { server } = session;
    await waitFor(() => session.target !== null);
    client.stall();
    let asked = 0;
    for (; !session.conn.isCongested; asked++) {
      expect(asked).toBeLessThan(5000);
      await answersAtLength(client, peer, 'RESET');
      expect(session.target).toBe(null);
      await peer.send(ASKED('default'));
      await waitFor(() => session.target !== null);
    }
    expect([session.server, server?.conn.isPaused]).toEqual([server, true]);
    client.resume();
    await waitFor(() => server?.conn.isPaused === false);
    while (asked-- > 0) {
      expect((await client.messagesTo('Z')).map(({ type }) => type).join('')).toBe('CDCZ');
    }
  });

  test.each([
    ['transaction', "SET work_mem = '2345kB'"],
    ['session', 'RESET work_mem'],
  ] as const)('and never answers is subject to query_timeout in %s mode: its client waits for it', async (mode, sql) => {
    const { stage, client, peer } = await Asked.set(mode, sql);
    await using _ = stage;
    await stage.pooler.reload({ settings: { query_timeout: 0.4 } });
    await client.send(frontend.query('SELECT 1'));
    expect(errorFields((await client.message('E')).body)).toMatchObject({ S: 'FATAL', M: 'query timeout' });
    await client.end();
    await peer.message('X');
  });

  test('and then never makes it the client’s again, is subject to query_timeout', async () => {
    const { stage, client, peer } = await Asked.set('session', 'RESET work_mem', { work_mem: '1234kB' });
    await using _ = stage;
    await stage.pooler.reload({ settings: { query_timeout: 0.4 } });
    await peer.send(ASKED('default'));
    expect((await peer.message('Q')).body.toString()).toContain("set_config('work_mem','1234kB',false)");
    await client.send(frontend.query('SELECT 1'));
    expect(errorFields((await client.message('E')).body)).toMatchObject({ S: 'FATAL', M: 'query timeout' });
    await client.end();
    await peer.message('X');
  });

  test('in the middle of a message of which the client leaves, is closed', async () => {
    const { stage, client, peer } = await Asked.set();
    await using _ = stage;
    const sent = async () =>
      (await stage.pooler.show('SHOW STATS_TOTALS')).find(({ database }) => database === 'scripted')?.[
        'bytes_sent'
      ];
    const before = Number(await sent());
    await peer.send(ASKED('session').subarray(0, 60));
    await waitFor(async () => Number(await sent()) === before + 60);
    await client.close();
    await peer.message('X');
  });

  test('cut anywhere, gives the client what it has set', async () => {
    const { stage, client, peer } = await Asked.set();
    await using _ = stage;
    await client.send(frontend.query('SELECT 1'));
    await peer.sendChunks(Array.from(ASKED('session'), (byte) => Buffer.of(byte)));
    expect((await peer.message('Q')).body.toString()).toBe('SELECT 1\0');
    await peer.send(backend.commandComplete('SELECT 0'), backend.readyForQuery());
    expect((await client.messagesTo('Z')).map(({ type }) => type)).toEqual(['C', 'Z']);
  });

  test('and has that cancelled, for a client whose request to cancel came late, is asked again', async () => {
    const { stage, client, peer } = await Asked.set();
    await using _ = stage;
    await client.send(frontend.query('SELECT 1'));
    for (const status of ['E', 'I'] as const) {
      await peer.send(CANCELLED, backend.readyForQuery(status));
      expect((await peer.message('Q')).body.toString()).toMatch(AGAIN);
    }
    await peer.send(ASKED('session'));
    expect((await peer.message('Q')).body.toString()).toBe('SELECT 1\0');
    await peer.send(backend.commandComplete('SELECT 0'), backend.readyForQuery());
    expect((await client.messagesTo('Z')).map(({ type }) => type)).toEqual(['C', 'Z']);
    // Nor is a client lost whose request comes while a server is made its own.
    const other = await stage.login();
    await other.send(frontend.query('SELECT 2'));
    const alignment = (await peer.message('Q')).body.toString();
    expect(alignment).toContain('RESET work_mem;');
    await peer.send(CANCELLED, backend.readyForQuery());
    expect((await peer.message('Q')).body.toString()).toBe(alignment);
    await peer.send(backend.commandComplete('RESET'), backend.readyForQuery());
    expect((await peer.message('Q')).body.toString()).toBe('SELECT 2\0');
    await peer.send(backend.commandComplete('SELECT 0'), backend.readyForQuery());
    expect((await other.messagesTo('Z')).map(({ type }) => type)).toEqual(['C', 'Z']);
  });

  test('and cancels that each time is given up the eighth time, with its own error for the client', async () => {
    const { stage, client, peer } = await Asked.set();
    await using _ = stage;
    let asked = 1;
    for (;;) {
      await peer.send(CANCELLED, backend.readyForQuery());
      const { type, body } = await peer.message();
      if (type === 'X') break;
      expect(body.toString()).toMatch(AGAIN);
      asked++;
    }
    expect(asked).toBe(8);
    expect(errorFields((await client.message('E')).body)).toMatchObject({ S: 'FATAL', C: '57014' });
  });

  test('and then cancels eight times that it is made the next client’s, refuses that one', async () => {
    const { stage, peer } = await Asked.set();
    await using _ = stage;
    await peer.send(ASKED('default'));
    const next = await stage.login({ work_mem: '1234kB' });
    await next.send(frontend.query('SELECT 1'));
    for (let i = 0; i < 8; i++) {
      expect((await peer.message('Q')).body.toString()).toContain("set_config('work_mem','1234kB',false)");
      await peer.send(CANCELLED, backend.readyForQuery());
    }
    expect(errorFields((await next.message('E')).body)).toMatchObject({ S: 'FATAL', C: '57014' });
  });

  test('again says the same, whatever its statement_timeout is', async () => {
    const names = ['statement_timeout', 'work_mem', 'app.tenant'];
    const answer = async (client: WireClient, isAgain: boolean) => {
      const { errors, rows, status } = await client.query(askingSql(names, isAgain));
      expect([errors, status]).toEqual([[], 'I']);
      return rows;
    };
    for (const given of [{}, { options: '-c statement_timeout=1min' }]) {
      await using client = await WireClient.connect(sharedPostgres(), {
        user: ROLE,
        database: 'postgres',
        ...given,
      });
      for (const timeout of ["'12345ms'", "'2min'", "'1d'", 'DEFAULT']) {
        await client.query(`SET statement_timeout TO ${timeout}; SET work_mem = '2345kB'`);
        const rows = await answer(client, false);
        if (timeout !== 'DEFAULT') expect(await answer(client, true)).toEqual(rows);
        // Where RESET leads to is said of a server whose session has not set it.
        else expect((await answer(client, true))[0]?.slice(0, 2)).toEqual(rows[0]?.slice(0, 2));
        expect(await client.value('SHOW statement_timeout')).toBe(
          Buffer.from(rows[0]?.[1] ?? '', 'hex').toString(),
        );
      }
    }
  });
});
