import type { Random } from './random.ts';
import { type ActorLogin, type Expected, IsolationActor } from './isolation-actor.ts';
import { frontend } from './peer-messages.ts';
import { type Answer, unnamed } from './wire-client.ts';

/** What a session may leave behind for the next, all in one row. */
const REMAINS = `
  SELECT coalesce(current_setting('isolation.tag', true), ''),
         current_setting('work_mem'), current_setting('application_name'), current_setting('TimeZone'),
         current_user, to_regclass('pg_temp.mine') IS NULL,
         (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_listening_channels()),
         (SELECT count(*) FROM pg_cursors),
         (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())`;

/** Channels that sessions once listened on, open ones included: others send there. */
export class Channels {
  readonly #names: string[] = [];

  add(name: string): void {
    this.#names.push(name);
  }

  /** Any but the own one. */
  pick(random: Random, own: string): string | null {
    const others = this.#names.filter((name) => name !== own);
    return others.length === 0 ? null : random.pick(others);
  }
}

/**
 * A client of a pool in session mode: each of its sessions must begin as if nobody had been there, and keep all
 * that it sets, prepares, listens to, locks and creates until it leaves.
 */
export class SessionActor extends IsolationActor {
  /** Sessions begun so far. */
  sessions = 0;
  readonly #defaults: readonly string[];
  readonly #channels: Channels;
  readonly #listens: boolean;
  #settings = new Map<string, string>();
  #prepared = new Map<string, string>();
  #rows: string[] = [];
  #hasTable = false;
  #channel = '';

  /** `defaults`: work_mem and TimeZone of a new session. */
  constructor(
    name: string,
    random: Random,
    login: ActorLogin,
    shared: { readonly defaults: readonly [string, string]; readonly channels: Channels },
  ) {
    super(name, random, login);
    this.#defaults = shared.defaults;
    this.#channels = shared.channels;
    // Half of them never listen, and so must never be notified.
    this.#listens = random.below(2) === 0;
  }

  protected async step(): Promise<void> {
    if (!this.isConnected) return this.#begin();
    const steps: readonly [number, string, () => Promise<void>][] = [
      [8, 'simple', () => this.simpleSelect()],
      [8, 'extended', () => this.extendedSelect()],
      [6, 'pipeline', () => this.pipeline()],
      [4, 'error', () => this.error()],
      [3, 'notice', () => this.notice()],
      [2, 'copy out', () => this.copyOut()],
      [10, 'set', () => this.#set()],
      [8, 'show', () => this.#show()],
      [6, 'prepare', () => this.#prepare()],
      [8, 'execute', () => this.#execute()],
      [5, 'insert', () => this.#insert()],
      [5, 'select', () => this.#select()],
      [3, 'lock', () => this.#lock()],
      [2, 'cursor', () => this.#cursor()],
      [3, 'listen', () => this.#listen()],
      [4, 'notify', () => this.#notify()],
      [2, 'cancel', () => this.cancelled()],
      [2, 'late cancel', () => this.lateCancel()],
      [5, 'in transaction', () => this.#leaveInTransaction()],
      [6, 'vanish', () => this.vanish()],
      [6, 'leave', () => this.leave(this.random.pick(['terminate', 'reset', 'half-close', 'destroy']))],
    ];
    let choice = this.random.below(steps.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, what, run] of steps) {
      choice -= weight;
      if (choice >= 0) continue;
      this.note(what);
      return run();
    }
  }

  /** Others may send to the channel it listens on, at any time. */
  protected override check(got: Answer, expected: Expected): void {
    const isForeign = ([channel, tag]: [string, string]) =>
      channel === this.#channel && !tag.startsWith(`${this.name}-`);
    super.check({ ...got, notifications: got.notifications.filter((one) => !isForeign(one)) }, expected);
  }

  async #begin(): Promise<void> {
    this.note('begin');
    const name = this.tag();
    const [workMem = '', timeZone = ''] = this.#defaults;
    this.#settings = new Map([['application_name', name]]);
    this.#prepared = new Map();
    this.#rows = [];
    this.#hasTable = false;
    this.#channel = '';
    this.sessions++;
    await this.connect({ application_name: name });
    this.check(await this.ask(frontend.query(REMAINS)), {
      types: 'TDCZ',
      rows: [['', workMem, name, timeZone, this.login.user, 't', '0', '0', '0', '0']],
      tags: ['SELECT 1'],
    });
  }

  async #set(): Promise<void> {
    const { random } = this;
    const name = random.pick(['isolation.tag', 'work_mem', 'application_name', 'TimeZone']);
    const values = { work_mem: `${64 + random.below(900)}kB`, TimeZone: random.pick(['UTC', 'Asia/Tokyo']) };
    const value = name in values ? values[name as keyof typeof values] : this.tag();
    const isReported = name === 'application_name' || name === 'TimeZone';
    const isNew = (this.#settings.get(name) ?? this.#defaults[1]) !== value;
    this.check(await this.ask(frontend.query(`SET ${name} = '${value}'`)), {
      types: 'CZ',
      tags: ['SET'],
      parameters: isReported && isNew ? [[name, value]] : [],
    });
    this.#settings.set(name, value);
  }

  async #show(): Promise<void> {
    if (this.#settings.size === 0) return;
    const [name, value] = this.random.pick([...this.#settings]);
    const answer = await this.ask(unnamed('SELECT current_setting($1)', name), frontend.sync());
    this.check(answer, { types: '12DCZ', rows: [[value]], tags: ['SELECT 1'] });
  }

  /** By SQL or by Parse; the same few names as in every other session. */
  async #prepare(): Promise<void> {
    const name = this.random.pick(['s1', 's2', 's3']);
    if (this.#prepared.has(name)) return;
    const tag = this.tag();
    if (this.percent(50)) {
      await this.statement(`PREPARE ${name} AS SELECT '${tag}'`, 'PREPARE');
    } else {
      const answer = await this.ask(frontend.parse(name, `SELECT '${tag}'`), frontend.sync());
      this.check(answer, { types: '1Z' });
    }
    this.#prepared.set(name, tag);
  }

  async #execute(): Promise<void> {
    const name = this.random.pick(['s1', 's2', 's3']);
    const tag = this.#prepared.get(name);
    const answer = await this.ask(frontend.bind('', name), frontend.execute(''), frontend.sync());
    this.check(
      answer,
      tag === undefined
        ? { types: 'EZ', errors: [['26000', `prepared statement "${name}" does not exist`]] }
        : { types: '2DCZ', rows: [[tag]], tags: ['SELECT 1'] },
    );
  }

  async #insert(): Promise<void> {
    if (!this.#hasTable) await this.statement('CREATE TEMP TABLE mine (tag text)', 'CREATE TABLE');
    this.#hasTable = true;
    const tag = this.tag();
    await this.statement(`INSERT INTO mine VALUES ('${tag}')`, 'INSERT 0 1');
    this.#rows.push(tag);
  }

  async #select(): Promise<void> {
    const rows = this.#rows.map((tag) => [tag]);
    const answer = await this.ask(frontend.query('SELECT tag FROM mine ORDER BY ctid'));
    this.check(
      answer,
      this.#hasTable
        ? { types: `T${'D'.repeat(rows.length)}CZ`, rows, tags: [`SELECT ${rows.length}`] }
        : { types: 'EZ', errors: [['42P01', 'relation "mine" does not exist']] },
    );
  }

  async #lock(): Promise<void> {
    const key = this.random.below(2 ** 31);
    const answer = await this.ask(frontend.query(`SELECT pg_try_advisory_lock(${key})`));
    this.check(answer, { types: 'TDCZ', rows: [['t']], tags: ['SELECT 1'] });
  }

  async #cursor(): Promise<void> {
    const tag = this.tag();
    await this.statement(`DECLARE c${this.steps} CURSOR WITH HOLD FOR SELECT '${tag}'`, 'DECLARE CURSOR');
    const answer = await this.ask(frontend.query(`FETCH ALL FROM c${this.steps}`));
    this.check(answer, { types: 'TDCZ', rows: [[tag]], tags: ['FETCH 1'] });
  }

  async #listen(): Promise<void> {
    if (!this.#listens || this.#channel !== '') return;
    this.#channel = `ch_${this.tag().replaceAll('-', '_')}`;
    await this.statement(`LISTEN ${this.#channel}`, 'LISTEN');
    this.#channels.add(this.#channel);
  }

  /** To itself, or to a channel of a session that has ended: its server's next client must not hear that. */
  async #notify(): Promise<void> {
    const tag = this.tag();
    if (this.#channel !== '' && this.percent(50)) {
      const answer = await this.ask(frontend.query(`NOTIFY ${this.#channel}, '${tag}'`));
      this.check(answer, { types: 'CZ', tags: ['NOTIFY'], notifications: [[this.#channel, tag]] });
      return;
    }
    const channel = this.#channels.pick(this.random, this.#channel);
    if (channel !== null) await this.statement(`NOTIFY ${channel}, '${tag}'`, 'NOTIFY');
  }

  async #leaveInTransaction(): Promise<void> {
    await this.statement('BEGIN', 'BEGIN', 'T');
    await this.simpleSelect('T');
    await this.leave(this.random.pick(['terminate', 'reset', 'half-close', 'destroy']));
  }
}
