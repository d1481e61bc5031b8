import { beforeAll, expect, test } from 'vitest';
import { isAsking } from '../support/parameter-stage.ts';
import { backend, frontend, int16, message } from '../support/peer-messages.ts';
import { startPooler } from '../support/pooler.ts';
import { answerToProbe, probeOf } from '../support/probe.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';
import { unnamed, WireClient } from '../support/wire-client.ts';

const ROLE = 'late_cancel';
const login = { user: ROLE, database: 'scripted' };
const DONE = (tag: string) => [backend.commandComplete(tag), backend.readyForQuery()];

/** The answer to what asks for parameters. */
const asked = (value: string, source: string) =>
  Buffer.concat([
    backend.commandComplete('BEGIN'),
    backend.rowDescription('n', 'encode', 'source'),
    backend.dataRow('work_mem', Buffer.from(value).toString('hex'), source),
    backend.commandComplete('SELECT 1'),
    backend.commandComplete('COMMIT'),
    backend.readyForQuery(),
  ]);

beforeAll(() => createRole(sharedPostgres(), { name: ROLE, auth: 'trust' }));

interface Scene extends AsyncDisposable {
  readonly server: ScriptedServer;
  readonly client: WireClient;
  /** The server's end of the one server connection. */
  readonly peer: ScriptedPeer;
  /**
   * Two cancel requests of the client: one that PostgreSQL has, with the connection that carried it open, and one that
   * waits behind it.
   */
  cancelTwice(): Promise<ScriptedPeer>;
  /** The query that it is sent next. */
  text(): Promise<string>;
}

async function stage(settings: Record<string, string | number>, greeting: Record<string, string> = {}) {
  const server = await ScriptedServer.listen();
  const pooler = await startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1, server_reset_query: '', ...settings },
    databases: { scripted: `host=127.0.0.1 port=${server.port}` },
    userlist: { [ROLE]: '' },
  });
  const [client, peer] = await Promise.all([
    WireClient.connect(pooler.port, { ...login, ...greeting }),
    server.acceptLogin({ pid: 99, secret: Buffer.from('SECR') }).then(async (accepted) => {
      if (settings['track_extra_parameters'] === undefined) return accepted;
      expect(isAsking((await accepted.message('Q')).body.toString())).toBe(true);
      await accepted.send(asked('4096kB', 'default'));
      return accepted;
    }),
  ]);
  const cancelling: Promise<void>[] = [];
  const scene: Scene = {
    server,
    client,
    peer,
    cancelTwice: async () => {
      const { cancels } = pooler.pooler.state.pools.all()[0] as { cancels: { waiting: { length: number } } };
      cancelling.push(client.cancel());
      const carrier = await server.accept();
      await carrier.packet();
      cancelling.push(client.cancel());
      await waitFor(() => cancels.waiting.length === 1, { what: 'a cancel that waits' });
      return carrier;
    },
    text: async () => (await peer.message('Q')).body.toString(),
    async [Symbol.asyncDispose]() {
      await Promise.all(cancelling);
      await client.peer.close();
      await pooler[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
      expect(pooler.lines.filter((line) => line.includes('internal error'))).toEqual([]);
    },
  };
  return scene;
}

/** While PostgreSQL has not closed the connection of a cancel, nothing is run on its server; nor is another one sent. */
async function runsNothing({ peer, server }: Scene, carrier: ScriptedPeer): Promise<void> {
  await sweepsPass();
  expect(peer.unread).toBe(0);
  carrier.halfClose();
  expect(server.accepted).toBe(2);
}

test('a cancel that comes late does not hit what asks for the client’s parameters', async () => {
  await using scene = await stage({ track_extra_parameters: 'work_mem' });
  const { client, peer, server } = scene;
  await client.send(frontend.query("SET work_mem = '2345kB'"));
  await scene.text();
  const carrier = await scene.cancelTwice();
  await peer.send(...DONE('SET'));
  expect((await client.answer()).tags).toEqual(['SET']);
  await client.send(frontend.query('SELECT 2'));
  await runsNothing(scene, carrier);
  expect(isAsking(await scene.text())).toBe(true);
  await peer.send(asked('2345kB', 'session'));
  expect(await scene.text()).toBe('SELECT 2\0');
  await peer.send(...DONE('SELECT 0'));
  expect((await client.answer()).tags).toEqual(['SELECT 0']);
  expect(server.accepted).toBe(2);
});

test('a cancel that waits behind another is for what the client runs, though the server is probed meanwhile', async () => {
  await using scene = await stage({ pool_mode: 'session' });
  const { client, peer, server } = scene;
  await client.send(unnamed('COPY t FROM STDIN'), frontend.sync());
  await peer.messagesTo('S');
  await peer.send(message('1'), message('2'), message('G', Buffer.of(0), int16(0)));
  await client.answerTo('G');
  await client.send(
    frontend.copyData('bad\n'),
    frontend.sync(),
    frontend.copyDone(),
    frontend.query('SELECT pg_sleep(1000)'),
  );
  await peer.messagesTo('Q');
  const carrier = await scene.cancelTwice();
  const failed = backend.errorResponse({
    S: 'ERROR',
    C: '57014',
    M: 'canceling statement due to user request',
  });
  await peer.send(failed, backend.readyForQuery());
  expect((await client.answer()).types).toBe('EZ');
  // The probe does not wait for the one that is under way.
  await peer.message('S');
  await carrier.close();
  const second = await server.accept();
  await second.packet();
  await peer.send(failed, backend.readyForQuery());
  expect((await client.answer()).types).toBe('EZ');
  await peer.send(backend.readyForQuery());
  await peer.send(answerToProbe(await probeOf(peer)));
  await second.close();
  await client.send(frontend.query('SELECT 2'));
  expect(await scene.text()).toBe('SELECT 2\0');
  await peer.send(...DONE('SELECT 0'));
  expect((await client.answer()).tags).toEqual(['SELECT 0']);
});

test('a cancel that is under way at the end of a probe does not hit the next client', async () => {
  await using scene = await stage({});
  const { client, peer, server } = scene;
  await client.send(unnamed('COPY t FROM STDIN'), frontend.sync());
  await peer.messagesTo('S');
  await peer.send(message('1'), message('2'), message('G', Buffer.of(0), int16(0)));
  await client.answerTo('G');
  await client.send(frontend.copyData('bad\n'), frontend.sync(), frontend.copyDone(), frontend.sync());
  await peer.messagesTo('S');
  await peer.messagesTo('S');
  const carrier = await scene.cancelTwice();
  await peer.send(
    backend.errorResponse({ S: 'ERROR', C: '57014', M: 'canceling statement due to user request' }),
    backend.readyForQuery(),
  );
  expect((await client.answer()).types).toBe('EZ');
  await peer.send(answerToProbe(await probeOf(peer)));
  await client.send(frontend.query('SELECT 2'));
  await runsNothing(scene, carrier);
  expect(await scene.text()).toBe('SELECT 2\0');
  await peer.send(...DONE('SELECT 0'));
  expect((await client.answer()).tags).toEqual(['SELECT 0']);
  expect(server.accepted).toBe(2);
});

test('a cancel that comes late does not hit what sets the client’s parameters again behind a RESET', async () => {
  await using scene = await stage({ pool_mode: 'session' }, { work_mem: '1234kB' });
  const { client, peer, server } = scene;
  await client.send(frontend.query('RESET ALL'));
  expect(await scene.text()).toContain('1234kB');
  await peer.send(...DONE('SET'));
  expect(await scene.text()).toBe('RESET ALL\0');
  const carrier = await scene.cancelTwice();
  await peer.send(...DONE('RESET'));
  expect((await client.answer()).tags).toEqual(['RESET']);
  await client.send(frontend.query('SELECT 2'));
  await runsNothing(scene, carrier);
  expect(isAsking(await scene.text())).toBe(true);
  await peer.send(asked('4096kB', 'default'));
  expect(await scene.text()).toContain('1234kB');
  await peer.send(...DONE('SET'));
  expect(await scene.text()).toBe('SELECT 2\0');
  await peer.send(...DONE('SELECT 0'));
  expect((await client.answer()).tags).toEqual(['SELECT 0']);
  expect(server.accepted).toBe(2);
});

test('a request that waits for earlier answers waits for cancels, too, and for what is asked behind them', async () => {
  await using scene = await stage({ track_extra_parameters: 'work_mem' });
  const { client, peer } = scene;
  await client.send(
    frontend.query("SET work_mem = '2345kB'; DEALLOCATE ALL"),
    frontend.query('EXECUTE nobody'),
  );
  expect(await scene.text()).toContain('DEALLOCATE ALL');
  await peer.message('H');
  const carrier = await scene.cancelTwice();
  await peer.send(backend.commandComplete('SET'), ...DONE('DEALLOCATE ALL'));
  expect((await client.answer()).tags).toEqual(['SET', 'DEALLOCATE ALL']);
  await runsNothing(scene, carrier);
  expect(isAsking(await scene.text())).toBe(true);
  await peer.send(asked('2345kB', 'session'));
  expect(await scene.text()).toBe('EXECUTE nobody\0');
  await peer.send(...DONE('SELECT 0'));
  expect((await client.answer()).tags).toEqual(['SELECT 0']);
});
