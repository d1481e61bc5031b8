import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { frontend } from './peer-messages.ts';
import { type LocalPooler, startPooler } from './pooler.ts';
import type { PoolerConfig } from './pooler-config.ts';
import { sharedPostgres } from './postgres.ts';
import { createDatabase, createRole } from './roles.ts';
import { connectAndLogin, type ScriptedPeer, ScriptedServer } from './scripted-peer.ts';
import { WireClient } from './wire-client.ts';

/** A table whose rows change when it is altered. */
export const ITEMS = [
  'DROP TABLE IF EXISTS items',
  "CREATE TABLE items AS SELECT 1 AS id, 'one' AS name",
] as const;

/** What the tests of a file have: a pooler for each test, and connections past it for all of them. */
export class WireStage {
  readonly #role: string;
  readonly #config: PoolerConfig;
  readonly #clients: WireClient[] = [];
  #pooler: LocalPooler | null = null;
  #direct: WireClient | null = null;

  /**
   * Registers itself with the file's tests. `role` is the name of its role, with `options`, and of its database; `tables` are
   * made anew for each test.
   */
  constructor(
    role: string,
    settings: PoolerConfig['settings'],
    {
      tables = [],
      databases = {},
      options = '',
    }: { tables?: readonly string[]; databases?: PoolerConfig['databases']; options?: string } = {},
  ) {
    this.#role = role;
    this.#config = {
      settings: { pool_mode: 'transaction', ...settings },
      userlist: { [role]: '' },
      databases: { [role]: '', ...databases },
    };
    beforeAll(async () => {
      await createRole(sharedPostgres(), { name: role, auth: 'trust', options });
      await createDatabase(sharedPostgres(), role, role);
      this.#direct = await WireClient.connect(sharedPostgres(), { user: role, database: role });
    });
    afterAll(() => this.direct.end());
    beforeEach(async () => {
      this.#pooler = await startPooler(this.#config);
      for (const sql of tables) await this.direct.rows(sql);
    });
    afterEach(async () => {
      await this.closeClients();
      await this.pooler[Symbol.asyncDispose]();
    });
  }

  get pooler(): LocalPooler {
    if (this.#pooler === null) throw new Error('no test runs');
    return this.#pooler;
  }

  /** Another pooler takes the test's place, with these settings beside its own. */
  async restart(settings: PoolerConfig['settings']): Promise<void> {
    await this.pooler[Symbol.asyncDispose]();
    this.#pooler = await startPooler({
      ...this.#config,
      settings: { ...this.#config.settings, ...settings },
    });
  }

  /** A client of PostgreSQL itself. */
  get direct(): WireClient {
    if (this.#direct === null) throw new Error('no test runs');
    return this.#direct;
  }

  /** A client of the pooler, which is closed with the test. */
  async connect(parameters: Readonly<Record<string, string>> = {}): Promise<WireClient> {
    const login = { user: this.#role, database: this.#role, ...parameters };
    const client = await WireClient.connect(this.pooler.port, login);
    this.#clients.push(client);
    return client;
  }
  async closeClients(): Promise<void> {
    for (const client of this.#clients.splice(0)) await client.peer.close();
  }

  /** Another client takes the server connection that was used last; gives what lets go of it. */
  async occupy(): Promise<() => Promise<unknown>> {
    const holder = await this.connect();
    await holder.query('BEGIN');
    return () => holder.query('COMMIT');
  }
}

/** A pooler for each test of a file between a client and a server that the test plays. */
export class ScriptedStage {
  #parts: { server: ScriptedServer; pooler: LocalPooler; client: ScriptedPeer } | null = null;
  #peer: ScriptedPeer | null = null;

  /** Registers itself with the file's tests; `role` is a name of its own. */
  constructor(role: string) {
    beforeAll(async () => {
      await createRole(sharedPostgres(), { name: role, auth: 'trust' });
    });
    beforeEach(async () => {
      const server = await ScriptedServer.listen();
      const pooler = await startPooler({
        settings: { pool_mode: 'transaction', default_pool_size: 1, server_login_retry: 0 },
        databases: { scripted: `host=127.0.0.1 port=${server.port}` },
        own: { server_close_timeout: 0.1, server_cancel_timeout: 0.1 },
        userlist: { [role]: '' },
      });
      const [client, peer] = await Promise.all([
        connectAndLogin(pooler.port, { user: role, database: 'scripted' }),
        server.acceptLogin(),
      ]);
      this.#parts = { server, pooler, client };
      this.#peer = peer;
    });
    afterEach(async () => {
      const { server, pooler, client } = this.#running();
      await client.close();
      await pooler[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    });
  }

  get server(): ScriptedServer {
    return this.#running().server;
  }

  get pooler(): LocalPooler {
    return this.#running().pooler;
  }

  get client(): ScriptedPeer {
    return this.#running().client;
  }

  /** The server connection that the pooler has. */
  get peer(): ScriptedPeer {
    if (this.#peer === null) throw new Error('no test runs');
    return this.#peer;
  }

  /** The pooler makes another one; `peer` is that from here on. */
  async acceptNext(): Promise<ScriptedPeer> {
    this.#peer = await this.server.acceptLogin();
    return this.#peer;
  }

  #running(): { server: ScriptedServer; pooler: LocalPooler; client: ScriptedPeer } {
    if (this.#parts === null) throw new Error('no test runs');
    return this.#parts;
  }
}

/** The types of the messages up to and with the first of type `last`. */
export async function typesTo(from: ScriptedPeer, last: string): Promise<string> {
  return (await from.messagesTo(last)).map(({ type }) => type).join('');
}

const { bindTexts, describe, execute } = frontend;

/** Bind and Execute, as drivers run a statement whose rows they decode by what they were told when it was prepared. */
export function runNamed(name: string, ...values: string[]): Buffer {
  return Buffer.concat([bindTexts('', name, values), execute('')]);
}

/** With a Describe in between, as node-postgres and libpq run a statement that they know. */
export function describedRun(name: string, ...values: string[]): Buffer {
  return Buffer.concat([bindTexts('', name, values), describe('P', ''), execute('')]);
}
