import { CrowdClient, scramFinal, scramFirst } from './crowd-client.ts';
import { frontend } from './peer-messages.ts';
import { Random } from './random.ts';
import { unnamed } from './wire-client.ts';

/** Whom a {@link Crowd} visits, and as whom. */
export interface CrowdStage {
  readonly port: number;
  readonly socketPath: string;
  readonly database: string;
  /** A role that is trusted. */
  readonly trusted: string;
  /** One that has a password, asked for by SCRAM. */
  readonly scram: { readonly user: string; readonly password: string };
  /** Takes rows of one text by COPY. */
  readonly table: string;
}

/** Simple queries of a usual visitor, each a transaction, all in one write. */
const USUAL = 15;
const someQueries = Buffer.concat(new Array<Buffer>(USUAL).fill(frontend.query('SELECT 1')));
const { bindTexts, close, execute, parse, query, sync } = frontend;

/** What one does who comes: `id` is another number each time, in all names that might be kept. */
type Visit = (crowd: Crowd, id: number) => Promise<void>;

/** Kinds of visitors, and how many of them are in a {@link Crowd.deck}. */
const kinds: Readonly<Record<string, readonly [number, Visit]>> = {
  'over the unix socket': [590, (crowd) => crowd.usual(crowd.stage.socketPath, {})],
  'by TCP, with a name of its own for the application': [
    140,
    (crowd, id) => crowd.usual(crowd.stage.port, { application_name: `application ${id}` }),
  ],
  'with prepared statements that nobody else has': [
    60,
    async (crowd, id) => {
      const client = await crowd.logIn(crowd.stage.port, crowd.stage.trusted);
      for (const i of [1, 2, 3]) {
        client.write(
          parse(`statement ${id} ${i}`, `SELECT $1::int + ${id} + ${i}`),
          bindTexts('', `statement ${id} ${i}`, ['1']),
          execute(''),
          ...(i === 1 ? [close('S', `statement ${id} ${i}`)] : []),
          sync(),
          unnamed(`SELECT $1::int - ${id}`, '3'),
          sync(),
        );
      }
      await crowd.asked(client, 6);
      await client.end();
    },
  ],
  'with PREPARE': [
    10,
    async (crowd, id) => {
      const client = await crowd.logIn(crowd.stage.port, crowd.stage.trusted);
      client.write(query(`PREPARE p${id} AS SELECT ${id}`), query(`EXECUTE p${id}`));
      if (id % 2 === 0) client.write(query(`DEALLOCATE p${id}`));
      await crowd.asked(client, id % 2 === 0 ? 3 : 2);
      await client.end();
    },
  ],
  'with errors': [
    40,
    async (crowd, id) => {
      const client = await crowd.logIn(crowd.stage.socketPath, crowd.stage.trusted);
      client.write(
        query(`SELECT ${id} / 0`),
        query(`BEGIN; SELECT no_such_column_${id}`),
        query('SELECT 1'),
        query('ROLLBACK'),
        unnamed(`SELECT 1 / $1::int, ${id}`, '0'),
        sync(),
      );
      await crowd.asked(client, 5);
      if (client.errorCount !== 4) throw new Error(`${client.errorCount} errors: ${client.lastError}`);
      await client.end();
    },
  ],
  'with COPY': [
    20,
    async (crowd, id) => {
      const client = await crowd.logIn(crowd.stage.port, crowd.stage.trusted);
      client.write(
        query(`COPY (SELECT repeat('x', 900), i FROM generate_series(1, 90) i WHERE i <> ${id}) TO STDOUT`),
        query(`COPY ${crowd.stage.table} FROM STDIN WHERE false`),
        frontend.copyData(`${'y'.repeat(5000)}\n`),
        frontend.copyDone(),
        query(`COPY ${crowd.stage.table} FROM STDIN`),
        frontend.copyFail(`reason ${id}`),
      );
      await crowd.asked(client, 3);
      await client.end();
    },
  ],
  'by SCRAM': [
    20,
    async (crowd) => {
      const { user, password } = crowd.stage.scram;
      const client = crowd.greet(crowd.stage.port, { user });
      await crowd.answerScram(client, password);
      await client.ready(1);
      client.write(someQueries);
      await crowd.asked(client, USUAL);
      await client.end();
    },
  ],
  'by SCRAM, with a wrong password': [
    10,
    async (crowd) => {
      const client = crowd.greet(crowd.stage.port, { user: crowd.stage.scram.user });
      await crowd.answerScram(client, null);
      await crowd.refused(client);
    },
  ],
  'over TLS': [
    10,
    async (crowd, id) => {
      const client = crowd.come(crowd.stage.port);
      await client.encrypt();
      client.write(
        crowd.startup({ user: crowd.stage.trusted, application_name: `secret ${id}` }),
        someQueries,
      );
      await crowd.asked(client, USUAL);
      await client.end();
    },
  ],
  'of whom nobody has heard': [
    30,
    async (crowd, id) => crowd.refused(crowd.greet(crowd.stage.port, { user: `stranger ${id}` })),
  ],
  'to a database that is not there': [
    5,
    async (crowd, id) =>
      crowd.refused(
        crowd.greet(crowd.stage.socketPath, { user: crowd.stage.trusted, database: `none_${id}` }),
      ),
  ],
  'with a parameter that no server takes': [
    5,
    async (crowd, id) => {
      // Which it is told when it gets a server.
      const parameters = { user: crowd.stage.trusted, [`parameter_${id}`]: 'x' };
      const client = crowd.greet(crowd.stage.port, parameters);
      await client.ready(1);
      client.write(query('SELECT 1'));
      await client.closed();
      if (client.errorCount === 0) throw new Error('not refused');
    },
  ],
  'who cancel a query': [
    5,
    async (crowd, id) => {
      const client = await crowd.logIn(crowd.stage.port, crowd.stage.trusted);
      client.write(query(`SELECT pg_sleep(60), ${id}`));
      // The request may be there ahead of the query.
      while (client.readyCount < 2) {
        await crowd.cancel(client.key as Buffer);
        await Promise.race([client.ready(2), crowd.come(crowd.stage.socketPath).vanish()]);
      }
      await client.end();
    },
  ],
  'with a cancel key that is nobody’s': [
    10,
    async (crowd, id) => {
      const key = Buffer.alloc(8);
      key.writeUInt32BE(id);
      await crowd.cancel(key);
    },
  ],
  'gone before a word': [
    10,
    async (crowd) => {
      const client = crowd.come(crowd.stage.port);
      await client.connected();
      await client.vanish();
    },
  ],
  'gone within the first packet': [
    5,
    async (crowd, id) => {
      const client = crowd.come(crowd.stage.port);
      client.write(crowd.startup({ user: `half ${id}` }).subarray(0, 20));
      await client.connected();
      await client.vanish();
    },
  ],
  'gone within a TLS handshake': [
    5,
    async (crowd) => {
      const client = crowd.come(crowd.stage.port);
      client.write(frontend.sslRequest(), Buffer.from([22, 3, 1, 2, 0, 1, 0]));
      await client.connected();
      await client.vanish();
    },
  ],
  'gone within SCRAM': [
    5,
    async (crowd, id) => {
      const client = crowd.greet(crowd.stage.port, {
        user: id % 2 === 0 ? crowd.stage.scram.user : `who ${id}`,
      });
      if (id % 2 === 0) {
        await client.challenged();
        scramFirst(client);
        await client.challenged();
      }
      await client.vanish();
    },
  ],
  'gone within a message': [
    8,
    async (crowd, id) => {
      const client = await crowd.logIn(crowd.stage.port, crowd.stage.trusted);
      client.write(someQueries, query(`SELECT ${id}`).subarray(0, 9));
      await crowd.asked(client, USUAL);
      await client.vanish();
    },
  ],
  'gone without its answers': [
    8,
    async (crowd, id) => {
      const client = await crowd.logIn(crowd.stage.port, crowd.stage.trusted);
      client.write(someQueries, parse(`gone ${id}`, `SELECT ${id}`), sync());
      await client.vanish();
    },
  ],
  'gone within a transaction': [
    4,
    async (crowd, id) => {
      const client = await crowd.logIn(crowd.stage.socketPath, crowd.stage.trusted);
      client.write(query('BEGIN'), query(`SELECT ${id}`));
      await crowd.asked(client, 2);
      await client.vanish();
    },
  ],
};

/**
 * Clients that come and go, one after the other in several places at once, always the same mixture. Every one makes up
 * names and texts of its own where there are any.
 */
export class Crowd {
  readonly stage: CrowdStage;
  /** Connections that were made, and transactions that were answered, so far. */
  connections = 0;
  transactions = 0;
  /** Who is there now: the kind of each, by its id. */
  readonly present = new Map<number, string>();
  #lastId = 0;

  constructor(stage: CrowdStage) {
    this.stage = stage;
  }

  /** All kinds as often as they are in the mixture, well mixed, always in the same order. */
  static deck(): readonly string[] {
    const all = Object.entries(kinds).flatMap(([name, [count]]) => new Array<string>(count).fill(name));
    const random = new Random(1);
    for (let i = all.length - 1; i > 0; i--) {
      const j = random.below(i + 1);
      [all[i], all[j]] = [all[j] as string, all[i] as string];
    }
    return all;
  }

  /** These kinds come, `places` of them at a time. Errors: rejects with what went wrong first, and for which kind. */
  async visit(names: readonly string[], places: number): Promise<void> {
    const waiting = names.values();
    const place = async (): Promise<void> => {
      for (const name of waiting) {
        const id = ++this.#lastId;
        this.present.set(id, name);
        try {
          await kinds[name]?.[1](this, id);
          this.present.delete(id);
        } catch (error) {
          throw new Error(`clients ${name}: ${error instanceof Error ? error.message : String(error)}`);
        }
      }
    };
    await Promise.all(Array.from({ length: places }, place));
  }

  /** Another connection. */
  come(target: number | string): CrowdClient {
    this.connections++;
    return new CrowdClient(target);
  }

  startup(parameters: Readonly<Record<string, string>>): Buffer {
    return frontend.startup({ database: this.stage.database, ...parameters });
  }

  /** A connection with its StartupMessage. */
  greet(target: number | string, parameters: Readonly<Record<string, string>>): CrowdClient {
    const client = this.come(target);
    client.write(this.startup(parameters));
    return client;
  }

  /** One who has logged in without a password. */
  async logIn(target: number | string, user: string): Promise<CrowdClient> {
    const client = this.greet(target, { user });
    await client.ready(1);
    return client;
  }

  /** Logs in by trust and has its queries answered, all said at once. */
  async usual(target: number | string, parameters: Readonly<Record<string, string>>): Promise<void> {
    const client = this.come(target);
    client.write(this.startup({ user: this.stage.trusted, ...parameters }), someQueries);
    await this.asked(client, USUAL);
    await client.end();
  }

  /** Behind the login, waits for the answers to `count` requests. */
  async asked(client: CrowdClient, count: number): Promise<void> {
    await client.ready(1 + count);
    this.transactions += count;
  }

  /** Waits until it was turned away. */
  async refused(client: CrowdClient): Promise<void> {
    await client.closed();
    if (client.errorCount === 0 || client.readyCount > 0) throw new Error('not refused');
  }

  /** The answers to the two challenges of SCRAM. */
  async answerScram(client: CrowdClient, password: string | null): Promise<void> {
    await client.challenged();
    const nonce = scramFirst(client);
    scramFinal(client, nonce, await client.challenged(), password);
  }

  async cancel(key: Buffer): Promise<void> {
    const client = this.come(this.stage.port);
    client.write(frontend.cancelRequest(key.readInt32BE(0), key.subarray(4)));
    await client.closed();
  }
}
