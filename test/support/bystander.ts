import type pg from 'pg';
import type { LocalPooler } from './pooler.ts';
import { waitFor } from './wait-for.ts';

/**
 * A healthy client that asks and checks its answers all the while others misbehave. Each answer carries the
 * question's number, so that nobody else's bytes pass for it.
 */
export class Bystander implements AsyncDisposable {
  readonly #client: pg.Client;
  readonly #work: Promise<void>;
  #isOver = false;
  #failure: unknown = null;
  /** How many questions have been answered rightly. */
  answered = 0;

  private constructor(client: pg.Client) {
    this.#client = client;
    this.#work = this.#ask();
  }

  static async start(pooler: LocalPooler, config: pg.ClientConfig): Promise<Bystander> {
    return new Bystander(await pooler.client(config));
  }

  /** Has been served at least `times` more since this call. */
  async isServed(times = 3): Promise<void> {
    const before = this.answered;
    await waitFor(() => this.#failure !== null || this.answered >= before + times, {
      what: 'answers for a healthy client',
    });
    if (this.#failure !== null) throw this.#failure;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await this.#work;
    await this.#client.end();
    if (this.#failure !== null) throw this.#failure;
  }

  async #ask(): Promise<void> {
    try {
      // Not as fast as it could: others want the processors, too.
      for (let i = 0; !this.#isOver; i++) {
        const tag = `bystander ${i}`;
        const { rows } = await this.#client.query<{ tag: string }>(
          'SELECT $1::text AS tag FROM pg_sleep(0.002)',
          [tag],
        );
        if (rows.length !== 1 || rows[0]?.tag !== tag)
          throw new Error(`got ${JSON.stringify(rows)} for ${tag}`);
        this.answered++;
      }
    } catch (error) {
      this.#failure = error;
    }
  }
}
