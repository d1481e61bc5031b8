import assert from 'node:assert';
import { frontend } from './peer-messages.ts';
import type { Random } from './random.ts';
import { waitFor } from './wait-for.ts';
import { type Answer, unnamed, WireClient } from './wire-client.ts';

/** What an answer has to be; everything that isn't named has to be absent, and the status idle. */
export type Expected = Partial<Omit<Answer, 'errors' | 'notices'>> & {
  /** SQLSTATEs and texts. */
  readonly errors?: readonly [string, string][];
  /** Texts. */
  readonly notices?: readonly string[];
};

/** Compares a whole answer; whatever came from another client shows. */
function assertAnswer(got: Answer, expected: Expected): void {
  const { errors, notices, ...rest } = got;
  assert.deepStrictEqual(
    {
      ...rest,
      errors: errors.map((fields) => [fields['C'], fields['M']]),
      notices: notices.map((fields) => fields['M']),
    },
    {
      types: '',
      rows: [],
      tags: [],
      errors: [],
      notices: [],
      parameters: [],
      notifications: [],
      copied: '',
      status: 'I',
      ...expected,
    },
  );
}

/** Where an actor logs in. */
export interface ActorLogin {
  readonly port: number;
  readonly user: string;
  readonly database: string;
}

/**
 * A client that does random things and knows what each must be answered with. Every text it sends bears its own
 * tags, so an answer, error, notice or notification that belongs to another client cannot pass for its own.
 */
export abstract class IsolationActor {
  readonly name: string;
  readonly random: Random;
  /** Steps done so far. */
  steps = 0;
  protected readonly login: ActorLogin;
  #tags = 0;
  #client: WireClient | null = null;
  readonly #done: string[] = [];

  constructor(name: string, random: Random, login: ActorLogin) {
    this.name = name;
    this.random = random;
    this.login = login;
  }

  /** Connects, does `count` random steps and leaves. Rejects at the first answer that isn't its own. */
  async run(count: number): Promise<void> {
    try {
      for (let i = 0; i < count; i++) {
        this.steps++;
        await this.step();
      }
      if (this.#client !== null) await this.leave('terminate');
    } catch (error) {
      const last = this.#done.slice(-5).join(', ');
      throw new Error(`${this.name}, step ${this.steps} (last: ${last}): ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  /** Compares a whole answer with what it has to be. */
  protected check(got: Answer, expected: Expected): void {
    assertAnswer(got, expected);
  }

  /** One random thing. */
  protected abstract step(): Promise<void>;

  /** For messages of failures. */
  protected note(what: string): void {
    this.#done.push(what);
  }

  /** Whether a connection is there. */
  protected get isConnected(): boolean {
    return this.#client !== null;
  }

  protected get client(): WireClient {
    if (this.#client === null) throw new Error('not connected');
    return this.#client;
  }

  /** True in so many of a hundred cases. */
  protected percent(of100: number): boolean {
    return this.random.below(100) < of100;
  }

  protected async connect(parameters: Readonly<Record<string, string>>): Promise<void> {
    const { port, user, database } = this.login;
    this.#client = await WireClient.connect(port, { user, database, ...parameters });
  }

  /** A text that nobody else ever sends. */
  protected tag(): string {
    this.#tags++;
    return this.lastTag;
  }

  /** What {@link tag} gave last. */
  protected get lastTag(): string {
    return `${this.name}-${this.#tags}`;
  }

  /** Disconnects in one way or another and waits until the connection is gone on this side. */
  protected async leave(how: 'terminate' | 'reset' | 'half-close' | 'destroy'): Promise<void> {
    this.note(how);
    const client = this.client;
    this.#client = null;
    if (how === 'terminate') return client.end();
    if (how === 'reset') client.peer.reset();
    if (how === 'half-close') {
      client.peer.halfClose();
      await client.peer.end();
    }
    await client.peer.close();
  }

  /** Sends bytes whole or cut in two at a random place. */
  protected async sendCut(...messages: readonly Uint8Array[]): Promise<void> {
    const bytes = Buffer.concat(messages);
    if (this.percent(60)) return this.client.send(bytes);
    const cut = this.random.below(bytes.length);
    await this.client.peer.sendChunks([bytes.subarray(0, cut), bytes.subarray(cut)]);
  }

  protected async ask(...messages: readonly Uint8Array[]): Promise<Answer> {
    await this.sendCut(...messages);
    return this.client.answer();
  }

  /** A statement in the simple or extended protocol; the status is that of a transaction when in one. */
  protected async statement(sql: string, tag: string, status = 'I'): Promise<void> {
    if (this.percent(50)) {
      this.check(await this.ask(frontend.query(sql)), { types: 'CZ', tags: [tag], status });
    } else {
      this.check(await this.ask(unnamed(sql), frontend.sync()), { types: '12CZ', tags: [tag], status });
    }
  }

  protected async simpleSelect(status = 'I'): Promise<void> {
    const tag = this.tag();
    const answer = await this.ask(frontend.query(`SELECT '${tag}'`));
    this.check(answer, { types: 'TDCZ', rows: [[tag]], tags: ['SELECT 1'], status });
  }

  protected async extendedSelect(status = 'I'): Promise<void> {
    const tag = this.tag();
    const answer = await this.ask(unnamed('SELECT $1', tag), frontend.sync());
    this.check(answer, { types: '12DCZ', rows: [[tag]], tags: ['SELECT 1'], status });
  }

  protected async severalStatements(): Promise<void> {
    const [one, two] = [this.tag(), this.tag()];
    const answer = await this.ask(frontend.query(`SELECT '${one}'; SELECT '${two}'`));
    this.check(answer, { types: 'TDCTDCZ', rows: [[one], [two]], tags: ['SELECT 1', 'SELECT 1'] });
  }

  /** Several requests, each with its Sync, sent before the first answer is read; some fail. */
  protected async pipeline(): Promise<void> {
    const requests = Array.from({ length: 2 + this.random.below(5) }, () => ({
      tag: this.tag(),
      fails: this.percent(25),
    }));
    await this.sendCut(
      ...requests.flatMap(({ tag, fails }) => [
        unnamed(fails ? 'SELECT $1::int' : 'SELECT $1', tag),
        frontend.sync(),
      ]),
    );
    for (const { tag, fails } of requests) {
      const answer = await this.client.answer();
      if (fails) this.check(answer, { types: '1EZ', errors: [notAnInteger(tag)] });
      else this.check(answer, { types: '12DCZ', rows: [[tag]], tags: ['SELECT 1'] });
    }
  }

  protected async error(status: 'I' | 'E' = 'I'): Promise<void> {
    const tag = this.tag();
    const answer = await this.ask(frontend.query(`SELECT '${tag}'::int`));
    this.check(answer, { types: 'EZ', errors: [notAnInteger(tag)], status });
  }

  protected async notice(): Promise<void> {
    const tag = this.tag();
    const answer = await this.ask(frontend.query(`DO $$ BEGIN RAISE NOTICE '${tag}'; END $$`));
    this.check(answer, { types: 'CZ', notices: [tag], tags: ['DO'] });
  }

  protected async copyOut(): Promise<void> {
    const tag = this.tag();
    const count = 1 + this.random.below(50);
    const sql = `COPY (SELECT '${tag}' FROM generate_series(1, ${count})) TO STDOUT`;
    this.check(await this.ask(frontend.query(sql)), {
      types: `H${'d'.repeat(count)}cCZ`,
      copied: `${tag}\n`.repeat(count),
      tags: [`COPY ${count}`],
    });
  }

  /** A cancel that comes while its own query runs, or waits for a server and is asked for again. */
  protected async cancelled(): Promise<void> {
    const { client } = this;
    let isAnswered = false;
    await this.sendCut(frontend.query(`SELECT pg_sleep(20), '${this.tag()}'`));
    const answering = client.answer().finally(() => {
      isAnswered = true;
    });
    const asking = waitFor(async () => {
      if (!isAnswered) await client.cancel();
      return isAnswered;
    });
    const [answer] = await Promise.all([answering, asking]);
    this.check(answer, {
      // With RowDescription when the query had got that far.
      types: answer.types === 'EZ' ? 'EZ' : 'TEZ',
      errors: [['57014', 'canceling statement due to user request']],
    });
  }

  /** A cancel that comes too late hits nobody, the next query of this client included. */
  protected async lateCancel(): Promise<void> {
    await this.simpleSelect();
    await this.client.cancel();
    await this.simpleSelect();
  }

  /** Goes away in the middle of something. */
  protected async vanish(): Promise<void> {
    const { random } = this;
    const query = frontend.query(`SELECT pg_sleep(0.02), '${this.tag()}'`);
    const unfinished = random.pick([
      // A header that is cut, a body that is cut, a query that runs, requests without Sync, several queries.
      query.subarray(0, 1 + random.below(4)),
      query.subarray(0, 5 + random.below(query.length - 5)),
      query,
      unnamed('SELECT $1', this.tag()),
      Buffer.concat([query, query]),
    ]);
    await this.client.send(unfinished);
    await this.leave(random.pick(['reset', 'destroy', 'half-close']));
  }
}

/** What PostgreSQL says of a tag that is taken for a number: the tag comes back in it. */
export function notAnInteger(tag: string): [string, string] {
  return ['22P02', `invalid input syntax for type integer: "${tag}"`];
}
