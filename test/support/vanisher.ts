import { frontend } from './peer-messages.ts';
import type { Random } from './random.ts';
import { unnamed, WireClient } from './wire-client.ts';

/** Statement that makes the table in which no row of a {@link Vanisher} may ever be. */
export const neverTable = 'CREATE TABLE never_rows (tag text)';

/** Where and how vanishers come and go. */
export interface VanisherScene {
  readonly port: number;
  readonly socketPath: string;
  readonly user: string;
  readonly database: string;
  /** BEGIN has no effect beyond its statement, and is refused. */
  readonly isStatementMode: boolean;
  /** Resolves when others have done something, or are through. */
  moment(): Promise<void>;
}

/**
 * Clients that send a random pipeline and are gone at a random moment, each by another way. What they insert is never
 * committed: it is ahead of a Sync, of the end of a COPY or of a COMMIT that they never send.
 */
export class Vanisher {
  readonly #name: string;
  readonly #random: Random;
  readonly #scene: VanisherScene;
  #tags = 0;

  constructor(name: string, random: Random, scene: VanisherScene) {
    this.#name = name;
    this.#random = random;
    this.#scene = scene;
  }

  async run(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.#visit();
  }

  async #visit(): Promise<void> {
    const { user, database, port, socketPath } = this.#scene;
    const random = this.#random;
    const to = random.below(3) === 0 ? socketPath : port;
    const client = await WireClient.connect(to, { user, database, application_name: this.#tag() });
    const { peer } = client;
    const requests: Uint8Array[] = [];
    for (let i = random.below(4); i > 0; i--) requests.push(...this.#whole());
    requests.push(...random.pick([() => this.#whole(), () => this.#unfinished()])());
    let bytes = Buffer.concat(requests);
    if (random.below(6) === 0) bytes = bytes.subarray(0, random.below(bytes.length));
    // It doesn't mind whether that gets anywhere.
    const sending = client.send(bytes);
    for (let i = random.below(4); i > 0; i--) await this.#scene.moment();
    switch (random.below(5)) {
      case 0:
        await Promise.all([sending, client.send(frontend.terminate())]);
        break;
      case 1:
        peer.halfClose();
        break;
      case 2:
        if (to === port) peer.reset();
        break;
    }
    await peer.close();
  }

  #tag(): string {
    this.#tags++;
    return `${this.#name}-${this.#tags}`;
  }

  #insert(): string {
    return `INSERT INTO never_rows VALUES ('${this.#tag()}')`;
  }

  /** Requests that leave nothing unfinished. */
  #whole(): readonly Uint8Array[] {
    const random = this.#random;
    const tag = this.#tag();
    const select = `SELECT '${tag}' AS vanished`;
    return random.pick<() => readonly Uint8Array[]>([
      () => [frontend.query(select)],
      () => [frontend.query(`SELECT '${tag}' FROM pg_sleep(${random.pick([0.002, 0.02, 60])})`)],
      () => [unnamed(select), frontend.sync()],
      () => [unnamed(`SELECT pg_sleep(${random.pick([0.005, 60])})`), frontend.sync()],
      () => [unnamed(select), unnamed('SELECT no_such_column'), unnamed(select), frontend.sync()],
      () => [frontend.query(`SELECT '${tag}'; SELECT 1/0; SELECT '${tag}'`)],
      () => [frontend.query(`SELECT '${tag}', repeat('x', 500) FROM generate_series(1, 2000)`)],
      () => [frontend.query(`COPY (SELECT '${tag}' FROM generate_series(1, 2000)) TO STDOUT`)],
      () => [
        frontend.query('COPY never_rows FROM STDIN'),
        frontend.copyData(`${tag}\n`),
        frontend.copyFail(tag),
      ],
      () => [
        frontend.parse('same', 'SELECT 1 AS same'),
        frontend.bind('', 'same'),
        frontend.execute(''),
        frontend.parse(tag, select),
        frontend.sync(),
        frontend.bind('', tag),
        frontend.execute(''),
        frontend.sync(),
      ],
      () => [frontend.query(`PREPARE "${tag}" AS ${select}; EXECUTE "${tag}"`)],
      () => [frontend.query(`SET application_name = '${tag}'; SET TimeZone = 'Asia/Tokyo'`)],
      () => [frontend.query('DISCARD ALL')],
      () => [frontend.query(''), frontend.sync(), frontend.sync()],
    ])();
  }

  /** Requests that want others behind them, which don't come. */
  #unfinished(): readonly Uint8Array[] {
    const random = this.#random;
    const choices: (() => readonly Uint8Array[])[] = [
      () => [unnamed(this.#insert())],
      () => [unnamed(this.#insert()), frontend.flush(), frontend.parse('', 'SELECT 1')],
      () => [unnamed(this.#insert()), unnamed('SELECT pg_sleep(60)')],
      () => [unnamed(this.#insert()), unnamed('SELECT no_such_column'), unnamed(this.#insert())],
      () => [frontend.parse('named', this.#insert()), frontend.bind('', 'named'), frontend.execute('')],
      () => [frontend.query('COPY never_rows FROM STDIN')],
      () => [frontend.query('COPY never_rows FROM STDIN'), frontend.copyData(`${this.#tag()}\n`)],
      () => [unnamed('COPY never_rows FROM STDIN'), frontend.copyData(`${this.#tag()}\n`)],
      () => [unnamed('COPY never_rows FROM STDIN'), frontend.sync(), frontend.copyData(`${this.#tag()}\n`)],
    ];
    if (!this.#scene.isStatementMode) {
      choices.push(
        () => [frontend.query('BEGIN'), frontend.query(this.#insert())],
        () => [frontend.query(`BEGIN; ${this.#insert()}`), frontend.query('SELECT pg_sleep(60)')],
        () => [frontend.query('BEGIN'), unnamed(this.#insert()), frontend.sync(), unnamed(this.#insert())],
        () => [frontend.query('BEGIN'), frontend.query(this.#insert()), frontend.query('SELECT 1/0')],
        () => [
          frontend.query('BEGIN'),
          frontend.query(this.#insert()),
          frontend.query('ROLLBACK'),
          frontend.query('SELECT pg_sleep(0.01)'),
        ],
      );
    }
    return random.pick(choices)();
  }
}
