import { IsolationActor, notAnInteger } from './isolation-actor.ts';
import { frontend } from './peer-messages.ts';
import { FollowedParameters } from './followed-parameters.ts';
import { StatementNames } from './statement-names.ts';
import { type Answer, unnamed } from './wire-client.ts';

/** Rows of one owner that the run's end is compared with. */
export interface OwnedRows {
  readonly owner: string;
  /** Committed for sure. */
  readonly committed: ReadonlySet<string>;
  /** Those of a transaction whose COMMIT was sent and not answered: all of them are there, or none. */
  readonly doubtful: readonly string[];
}

/** Statement that makes the table of {@link TransactionActor}'s rows. */
export const ownedRowsTable = 'CREATE TABLE owned_rows (owner text, tag text)';

/** A client of a pool in transaction mode: beside tagged queries, transactions with rows that only it writes. */
export class TransactionActor extends IsolationActor {
  /** Of connections that are over. */
  readonly past: OwnedRows[] = [];
  #owner = '';
  #committed = new Set<string>();
  #parameters = new FollowedParameters(this.random, () => this.tag());
  #statements = new StatementNames(this.random, () => this.tag());
  /** Cancels that may not have been carried out yet. */
  #cancels: Promise<unknown> = Promise.resolve();

  /** The rows of all its connections. */
  get ownedRows(): readonly OwnedRows[] {
    return this.past;
  }

  protected async step(): Promise<void> {
    if (!this.isConnected) await this.#login();
    const steps: readonly [number, string, () => Promise<void>][] = [
      [15, 'simple', () => this.simpleSelect()],
      [15, 'extended', () => this.extendedSelect()],
      [8, 'several', () => this.severalStatements()],
      [10, 'pipeline', () => this.pipeline()],
      [8, 'error', () => this.error()],
      [4, 'notice', () => this.notice()],
      [18, 'transaction', () => this.#transaction()],
      [5, 'rows', () => this.#ownRows([], 'I')],
      [4, 'set', () => this.#setApplicationName()],
      [4, 'show', () => this.#showApplicationName()],
      [6, 'parameters', () => this.#changeParameters()],
      [4, 'show parameters', () => this.#showParameters()],
      [1, 'role', () => this.#role()],
      [25, 'statement', () => this.#statement()],
      [6, 'failing pipeline of statements', () => this.#failingStatements()],
      [4, 'copy out', () => this.copyOut()],
      [4, 'copy in', () => this.#copyIn()],
      [3, 'cancel', () => this.cancelled()],
      [3, 'late cancel', () => this.lateCancel()],
      [5, 'racing cancels', () => this.#racingCancels()],
      [20, 'slow', () => this.#slowSelect()],
      [5, 'vanish', () => this.#vanish()],
      [3, 'leave', () => this.#leaveAtRest()],
    ];
    let choice = this.random.below(steps.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, what, run] of steps) {
      choice -= weight;
      if (choice >= 0) continue;
      this.note(what);
      return run();
    }
  }

  protected override async leave(how: 'terminate' | 'reset' | 'half-close' | 'destroy'): Promise<void> {
    if (how === 'terminate') this.#isOver([]);
    await super.leave(how);
    await this.#cancels;
  }

  async #login(): Promise<void> {
    this.#owner = this.tag();
    this.#committed = new Set();
    this.#statements = new StatementNames(this.random, () => this.tag());
    this.#parameters = new FollowedParameters(this.random, () => this.tag());
    await this.connect(this.#parameters.given);
  }

  #isOver(doubtful: readonly string[]): void {
    this.past.push({ owner: this.#owner, committed: this.#committed, doubtful });
  }

  async #insert(status: string): Promise<string> {
    const tag = this.tag();
    await this.statement(`INSERT INTO owned_rows VALUES ('${this.#owner}', '${tag}')`, 'INSERT 0 1', status);
    return tag;
  }

  /** Its own rows are those that it committed and those of the open transaction. */
  async #ownRows(pending: readonly string[], status: string): Promise<void> {
    const sql = 'SELECT tag FROM owned_rows WHERE owner = $1 ORDER BY tag COLLATE "C"';
    const tags = [...this.#committed, ...pending].sort();
    this.check(await this.ask(unnamed(sql, this.#owner), frontend.sync()), {
      types: `12${'D'.repeat(tags.length)}CZ`,
      rows: tags.map((tag) => [tag]),
      tags: [`SELECT ${tags.length}`],
      status,
    });
  }

  async #transaction(): Promise<void> {
    const { random } = this;
    await this.statement('BEGIN', 'BEGIN', 'T');
    const pending: string[] = [];
    const local = this.percent(30) ? this.tag() : null;
    if (local !== null) await this.statement(`SET LOCAL isolation.tag = '${local}'`, 'SET', 'T');
    for (let i = random.below(4); i >= 0; i--) {
      pending.push(await this.#insert('T'));
      if (this.percent(30)) await this.simpleSelect('T');
      if (this.percent(20)) await this.#ownRows(pending, 'T');
      if (this.percent(5)) await this.client.cancel();
    }
    if (local !== null) {
      const answer = await this.ask(frontend.query("SELECT current_setting('isolation.tag')"));
      this.check(answer, { types: 'TDCZ', rows: [[local]], tags: ['SELECT 1'], status: 'T' });
    }
    const ending = random.below(10);
    if (ending < 5) {
      await this.statement('COMMIT', 'COMMIT');
      for (const tag of pending) this.#committed.add(tag);
    } else if (ending < 7) {
      await this.statement('ROLLBACK', 'ROLLBACK');
    } else if (ending < 8) {
      await this.error('E');
      await this.statement(random.pick(['COMMIT', 'ROLLBACK']), 'ROLLBACK');
    } else if (ending < 9) {
      this.#isOver([]);
      if (this.percent(50)) await this.client.send(frontend.query('COMMIT').subarray(0, 8));
      await this.leave(random.pick(['reset', 'destroy', 'half-close']));
    } else {
      this.#isOver(pending);
      await this.sendCut(frontend.query('COMMIT'));
      await this.leave(random.pick(['reset', 'destroy', 'half-close']));
    }
  }

  /** A tracked parameter follows its client to whichever server comes next. */
  async #setApplicationName(): Promise<void> {
    const name = this.tag();
    this.check(await this.ask(frontend.query(`SET application_name = '${name}'`)), {
      types: 'CZ',
      tags: ['SET'],
      parameters: [['application_name', name]],
    });
    this.#parameters.set('application_name', name);
  }

  async #showApplicationName(): Promise<void> {
    const answer = await this.ask(frontend.query("SELECT current_setting('application_name')"));
    this.check(answer, {
      types: 'TDCZ',
      rows: [[this.#parameters.value('application_name')]],
      tags: ['SELECT 1'],
    });
  }

  /** A transaction that sets or resets some of its parameters, one way or another, and ends well or not. */
  async #changeParameters(): Promise<void> {
    const { statements, end, failsAtEnd } = this.#parameters.change();
    for (const [sql, tag, status] of statements) await this.#changing(sql, tag, status);
    if (failsAtEnd) {
      // What it had set is undone at once.
      const answer = await this.ask(frontend.query(`SELECT '${this.tag()}'::int`));
      const { parameters } = answer;
      this.check(answer, { types: 'EZ', errors: [notAnInteger(this.lastTag)], status: 'E', parameters });
    }
    if (end !== null) await this.#changing(end[0], end[1], 'I');
    if (this.percent(20)) return this.#leaveAtRest();
    // What it is told of values that it has again comes ahead of the next answer.
    await this.#showParameters();
  }

  /** As `statement`, but ParameterStatus may come with it. */
  async #changing(sql: string, tag: string, status: string): Promise<void> {
    const isSimple = this.percent(50);
    const answer = isSimple
      ? await this.ask(frontend.query(sql))
      : await this.ask(unnamed(sql), frontend.sync());
    const { parameters } = answer;
    this.check(answer, { types: isSimple ? 'CZ' : '12CZ', tags: [tag], status, parameters });
  }

  async #showParameters(): Promise<void> {
    const answer = await this.ask(frontend.query(this.#parameters.sql));
    const { parameters } = answer;
    this.check(answer, { types: 'TDCZ', rows: [this.#parameters.values], tags: ['SELECT 1'], parameters });
    for (const [name, value] of parameters) {
      if (value !== this.#parameters.value(name)) throw new Error(`told of another's ${name}: ${value}`);
    }
  }

  /** Becomes another user by name: the next client must not be that one. */
  async #role(): Promise<void> {
    const sql = "SELECT current_setting('role')";
    this.check(await this.ask(frontend.query(sql)), { types: 'TDCZ', rows: [['none']], tags: ['SELECT 1'] });
    const { user } = this.login;
    await this.statement(
      this.random.pick([`SET ROLE ${user}`, `SET SESSION AUTHORIZATION ${user}`, `SET role = ${user}`]),
      'SET',
    );
  }

  async #copyIn(): Promise<void> {
    const tags = Array.from({ length: 1 + this.random.below(5) }, () => this.tag());
    await this.sendCut(frontend.query('COPY owned_rows FROM STDIN'));
    const begun = await this.client.answerTo('G');
    this.check(begun, { types: 'G', status: '' });
    const lines = tags.map((tag) => frontend.copyData(`${this.#owner}\t${tag}\n`));
    if (this.percent(70)) {
      const answer = await this.ask(...lines, frontend.copyDone());
      this.check(answer, { types: 'CZ', tags: [`COPY ${tags.length}`] });
      for (const tag of tags) this.#committed.add(tag);
      return;
    }
    const reason = this.tag();
    const answer = await this.ask(...lines, frontend.copyFail(reason));
    this.check(answer, { types: 'EZ', errors: [['57014', `COPY from stdin failed: ${reason}`]] });
  }

  /** Prepared statements are the client's own, whichever server it is linked to. */
  async #statement(): Promise<void> {
    const { bytes, expected } = this.#statements.step();
    this.check(await this.ask(bytes), expected);
  }

  async #failingStatements(): Promise<void> {
    const { bytes, expected } = this.#statements.failingPipeline();
    this.check(await this.ask(bytes), expected);
  }

  /** Long enough for a stray cancel to hit it. */
  async #slowSelect(): Promise<void> {
    const tag = this.tag();
    const answer = await this.ask(frontend.query(`SELECT '${tag}' FROM pg_sleep(0.006)`));
    this.check(answer, { types: 'TDCZ', rows: [[tag]], tags: ['SELECT 1'] });
  }

  /**
   * Cancels that arrive about when their query ends, and may be on their way for longer than that: whoever has the
   * server next must not be hit. A CancelRequest names a session, not a query, and comes on a connection of its own:
   * one that arrives when the client has begun its next query hits that one, in PostgreSQL itself just as here. So
   * until the last of them has been closed, which says that it has been carried out, this client's own queries may be
   * hit, as often as there were cancels; from then on none.
   */
  async #racingCancels(): Promise<void> {
    const { client } = this;
    let underWay = 3;
    let hitsLeft = underWay;
    const first = this.#sleep(this.random.below(12));
    const cancels = Array.from({ length: underWay }, () => client.cancel().finally(() => underWay--));
    this.#cancels = Promise.all(cancels);
    // Its rejection is this client's failure, here or in `leave`; until then nobody waits for it.
    this.#cancels.catch(() => {});
    if (this.#isHit(await first, hitsLeft)) hitsLeft--;
    if (this.percent(20)) return this.#leaveAtRest();
    while (underWay > 0) {
      if (this.#isHit(await this.#sleep(6), hitsLeft)) hitsLeft--;
    }
    await this.#cancels;
  }

  #sleep(ms: number): Promise<Answer> {
    return this.client.query(`SELECT '${this.tag()}' FROM pg_sleep(${ms} / 1000.0)`);
  }

  /** Checks the answer to {@link #sleep}: its row, or if it may be hit, that it was cancelled. */
  #isHit(answer: Answer, hitsLeft: number): boolean {
    const rows = [[this.lastTag]];
    if (answer.errors.length === 0 || hitsLeft === 0) {
      this.check(answer, { types: 'TDCZ', rows, tags: ['SELECT 1'] });
      return false;
    }
    this.check(answer, {
      // With RowDescription when the query had got that far, and with its row: PostgreSQL sends rows as it finds them.
      ...(answer.types === 'TDEZ'
        ? { types: 'TDEZ', rows }
        : { types: answer.types === 'EZ' ? 'EZ' : 'TEZ' }),
      errors: [['57014', 'canceling statement due to user request']],
    });
    return true;
  }

  async #vanish(): Promise<void> {
    this.#isOver([]);
    await this.vanish();
  }

  async #leaveAtRest(): Promise<void> {
    const how = this.random.pick(['terminate', 'reset', 'half-close', 'destroy'] as const);
    if (how !== 'terminate') this.#isOver([]);
    await this.leave(how);
  }
}
