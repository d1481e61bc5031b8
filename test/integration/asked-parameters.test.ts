import { beforeAll, describe, expect, test } from 'vitest';
import { isAsking } from '../support/parameter-stage.ts';
import { backend, errorFields, frontend, message } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { answerToProbe } from '../support/probe.ts';
import { createRole } from '../support/roles.ts';
import { connectAndLogin, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';

const ROLE = 'asked_parameters';
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

  static async set(): Promise<{ stage: Asked; client: ScriptedPeer; peer: ScriptedPeer }> {
    const server = await ScriptedServer.listen();
    const pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 1, server_login_retry: 0, ...TRACKED },
      databases: { scripted: `host=127.0.0.1 port=${server.port}` },
      userlist: { [ROLE]: '' },
    });
    const stage = new Asked(server, pooler);
    const [client, peer] = await Promise.all([
      stage.login(),
      server.acceptLogin().then(async (accepted) => {
        expect(isAsking((await accepted.message('Q')).body.toString())).toBe(true);
        await accepted.send(ASKED('default'));
        return accepted;
      }),
    ]);
    await client.send(frontend.query("SET work_mem = '2345kB'"));
    await peer.message('Q');
    await peer.send(backend.commandComplete('SET'), backend.readyForQuery());
    expect((await client.messagesTo('Z')).map(({ type }) => type)).toEqual(['C', 'Z']);
    expect(isAsking((await peer.message('Q')).body.toString())).toBe(true);
    return { stage, client, peer };
  }

  login(): Promise<ScriptedPeer> {
    return connectAndLogin(this.pooler.port, { user: ROLE, database: 'scripted' });
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
});
