/** Serves lanes with node-postgres on libpq, a connection each: see ../program.ts for requests and replies. */
import { createInterface } from 'node:readline';
import pg from 'pg';
import type { Row, Sample, Target } from '../kit.ts';

const { native } = pg;
if (native === null) throw new Error('pg-native is not there');
const TWICE = 'SELECT pg_backend_pid() AS pid, $1::int * 2 AS twice';
const INSERT = 'INSERT INTO samples (id) VALUES ($1) RETURNING id';

interface Request {
  readonly op: string;
  readonly target: Target;
  readonly text: string;
  readonly values: readonly unknown[];
  readonly n: number;
  readonly sample: Sample;
  readonly ids: readonly number[];
}

/** Not in its types: by libpq's cancel, on the client's own connection. */
type Client = pg.Client & { cancel(query: unknown): void };

class Lane {
  readonly #names = new Map<string, string>();
  #target: Target | undefined;
  #client: Client | undefined;
  #cancellable: unknown;

  async answer(request: Request): Promise<unknown> {
    const { op, text, values, n, sample } = request;
    switch (op) {
      case 'open':
        this.#target = request.target;
        this.#client = await connect(request.target);
        return null;
      case 'close':
        await this.#connected.end();
        return null;
      case 'sql':
        return this.#rows(text, values);
      case 'twice':
        return this.#rows(TWICE, [n]);
      case 'begin':
      case 'commit':
      case 'rollback':
        await this.#connected.query(op);
        return null;
      case 'cancel':
        return this.#cancelled(text);
      case 'store':
        return this.#store(sample);
      case 'pipeline':
        return this.#pipeline(request.ids);
      default:
        throw new Error(`no such request: ${op}`);
    }
  }

  /** Cancels what `cancel` runs. */
  cancel(): void {
    this.#connected.cancel(this.#cancellable);
  }

  get #connected(): Client {
    if (this.#client === undefined) throw new Error('it is not open');
    return this.#client;
  }

  /** A statement with values is prepared under a name when it is new. */
  async #rows(text: string, values: readonly unknown[]): Promise<Row[]> {
    if (values.length === 0) return (await this.#connected.query<Row>(text)).rows;
    const name = this.#names.get(text) ?? `s${this.#names.size}`;
    this.#names.set(text, name);
    return (await this.#connected.query<Row>({ name, text, values: [...values] })).rows;
  }

  #cancelled(text: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const query = new (native as typeof pg).Query(text);
      query.on('error', reject);
      query.on('end', resolve);
      this.#cancellable = query;
      this.#connected.query(query);
    });
  }

  async #store({ id, big, num, body, at, doc, list, nothing }: Sample): Promise<Row | undefined> {
    const values = [id, big, num, body, at, doc, list, nothing];
    await this.#rows('INSERT INTO samples VALUES ($1, $2, $3, $4, $5, $6, $7, $8)', values);
    return (await this.#rows('SELECT * FROM samples WHERE id = $1', [id]))[0];
  }

  /** Inserts all ids in one go, then one of them once more between two others, on a client that pipelines. */
  async #pipeline(ids: readonly number[]): Promise<unknown> {
    const client = await connect({ ...(this.#target as Target), pipeline: true });
    try {
      const insert = (id: number) =>
        client.query<{ id: number }>({ name: 'insert', text: INSERT, values: [id] });
      const inserted = await Promise.all(ids.map(insert));
      const more = await Promise.allSettled([-1, ids[0] as number, -2].map(insert));
      return { inserted: inserted.map(({ rows }) => rows[0]?.id), more: more.map(({ status }) => status) };
    } finally {
      await client.end();
    }
  }
}

async function connect(config: Target & { readonly pipeline?: boolean }): Promise<Client> {
  const client = new (native as typeof pg).Client(config) as Client;
  client.on('error', () => {});
  await client.connect();
  return client;
}

const lanes = new Map<number, Lane>();
for await (const line of createInterface({ input: process.stdin })) {
  const { lane: number, ...request }: Request & { readonly lane: number } = JSON.parse(line);
  const lane = lanes.get(number) ?? new Lane();
  lanes.set(number, lane);
  if (request.op === 'now') {
    lane.cancel();
    continue;
  }
  const say = (reply: unknown) =>
    process.stdout.write(`${JSON.stringify({ lane: number, ...(reply as object) })}\n`);
  lane.answer(request).then(
    (value) => say({ value }),
    (error: Error & { readonly code?: string }) =>
      say({ error: { state: error.code ?? null, message: error.message } }),
  );
}
