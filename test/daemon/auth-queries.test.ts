import { describe, expect, test } from 'vitest';
import { silentLogger } from '../../src/base/log.ts';
import { AuthQueries } from '../../src/daemon/auth-queries.ts';
import type { PoolerState } from '../../src/daemon/context.ts';
import type { FoundSecret } from '../../src/auth/secret-lookups.ts';
import type { LoginFailure } from '../../src/pool/peers.ts';
import type { LookupSession } from '../../src/server/lookup-session.ts';
import { errorOf, fatal } from '../../src/wire/pg-error.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { waitFor } from '../support/wait-for.ts';

const RETRY_MS = 15_000;
const NOBODY: LoginFailure = { message: 'connect timeout', serverError: null, failWaiting: false };

/** Databases that `*` stands for; the test says what becomes of connections to them. */
class Stage {
  readonly clock = new ManualClock();
  readonly proven = new Set<string>();
  readonly queries: AuthQueries;
  /** Connections that are being opened. */
  readonly opening = new Map<string, LookupSession>();
  opened = 0;
  /** No connection can be opened: who asks for one waits. */
  isFull = false;

  constructor() {
    const lines = { mayWrite: () => true, failed: () => {} };
    this.queries = new AuthQueries({
      clock: this.clock,
      log: silentLogger,
      door: { lines },
      pools: { all: () => [] },
      databases: {
        resolve: (name: string) => void this.proven.add(name),
        isUnproven: (name: string) => !this.proven.has(name),
      },
      nextId: () => 1,
      guard: (call: () => void) => call(),
      openAuthPool: (database: string) => this.#poolOf(database),
      config: { own: { auth_query_cache_time: 0 } },
    } as unknown as PoolerState);
  }

  /** What is found for somebody who logs in to `database`. */
  async find(database: string, isGuessed: boolean): Promise<FoundSecret> {
    const target = { key: '', database, user: 'looker', sql: '', isGuessed };
    const result = await this.queries.lookups.find(target, 'somebody', { isAbandoned: false });
    return result.found;
  }

  /** What becomes of a look-up in `database`. */
  ask(database: string, isWanted = () => true): Promise<string> {
    const target = { database, user: 'looker', isGuessed: true };
    return this.queries
      .ask(target, { sql: '', parameters: [], isWanted })
      .then((outcome) => ('error' in outcome ? outcome.error.message : 'answered'));
  }

  /** Waits for connections to just these databases being opened. */
  async opens(...databases: string[]): Promise<void> {
    await waitFor(() => this.opening.size === databases.length, { what: `${databases.length} connections` });
    expect([...this.opening.keys()]).toEqual(databases);
  }

  fail(database: string, failure: LoginFailure = NOBODY): void {
    const session = this.opening.get(database);
    this.opening.delete(database);
    session?.notOpened(failure);
  }

  refuse(database: string, sqlstate: string): void {
    const serverError = fatal(`${database} is refused`, sqlstate);
    this.fail(database, { message: '', serverError, failWaiting: true });
  }

  sweepAfter(ms: number): void {
    this.clock.advance(ms);
    this.queries.sweep();
  }

  #poolOf(database: string): unknown {
    const { clock, opening } = this;
    const join = (session: LookupSession): void => {
      session.state = 'waiting_dedicated';
      if (this.isFull) return;
      this.opened++;
      opening.set(database, session);
    };
    return {
      dedicated: { join },
      servers: { new: this.isFull ? [] : [...opening.values()].map((dedicatedTo) => ({ dedicatedTo })) },
      limits: { serverLoginRetryMs: RETRY_MS },
      get nowMs() {
        return clock.nowMs();
      },
      leave: () => {},
    };
  }
}

const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `made_up_${i}`);

test('however many log in to a database that hangs, it is one of the eight that are tried', async () => {
  const stage = new Stage();
  for (let i = 0; i < 2000; i++) void stage.ask('hangs');
  void stage.ask('other');
  await stage.opens('hangs', 'other');
});

test('a database that hangs gives its turn back with each attempt', async () => {
  const stage = new Stage();
  const hanging = names(8);
  for (const name of hanging) void stage.ask(name);
  const other = stage.ask('other');
  await stage.opens(...hanging);
  for (const name of hanging) stage.fail(name);
  await stage.opens('other');
  stage.sweepAfter(RETRY_MS);
  await stage.opens('other', ...hanging.slice(0, 7));
  stage.refuse('other', '3D000');
  expect(await other).toBe('other is refused');
  await stage.opens(...hanging);
});

test('thousands of databases wait for their turn, and no longer than it takes to know that they are there', async () => {
  const stage = new Stage();
  const made = names(3000);
  const answers = made.map((name) => stage.ask(name));
  await stage.opens(...made.slice(0, 8));
  stage.proven.add('made_up_2999');
  stage.sweepAfter(300);
  await stage.opens(...made.slice(0, 8), 'made_up_2999');
  stage.refuse('made_up_2999', '3D000');
  expect(await answers[2999]).toBe('made_up_2999 is refused');
});

test('what nobody waits for any more goes without its turn', async () => {
  const stage = new Stage();
  for (const name of names(8)) void stage.ask(name);
  const there = { isThere: true };
  const left = names(100).map((name) => stage.ask(`left_${name}`, () => there.isThere));
  await stage.opens(...names(8));
  there.isThere = false;
  stage.sweepAfter(300);
  await Promise.all(left);
  const next = stage.ask('next');
  stage.refuse('made_up_0', '3D000');
  await stage.opens(...names(8).slice(1), 'next');
  stage.refuse('next', '3D000');
  await next;
  expect(stage.opened).toBe(9);
});

test('an attempt that waits for a server connection gives its turn back when nobody waits for it any more', async () => {
  const stage = new Stage();
  stage.isFull = true;
  const there = { isThere: true };
  const left = names(8).map((name) => stage.ask(name, () => there.isThere));
  // Their turns have come.
  for (let i = 0; i < 10; i++) await Promise.resolve();
  there.isThere = false;
  stage.isFull = false;
  const next = stage.ask('next');
  stage.sweepAfter(300);
  await Promise.all(left);
  await stage.opens('next');
  stage.refuse('next', '3D000');
  await next;
});

test('a refusal holds for server_login_retry, also of a database that a client alone has named', async () => {
  const stage = new Stage();
  for (const user of ['one', 'two']) {
    const asked = stage.ask('postgres');
    if (user === 'one') {
      await stage.opens('postgres');
      stage.refuse('postgres', '28P01');
    }
    expect(await asked).toBe('bouncer config error');
    stage.sweepAfter(300);
  }
  expect(stage.opened).toBe(1);
  stage.sweepAfter(RETRY_MS);
  void stage.ask('postgres');
  await stage.opens('postgres');
});

test('of refusals a thousand are remembered, the newest', async () => {
  const stage = new Stage();
  const refused = names(1001);
  for (const name of refused) stage.proven.add(name);
  const asked = refused.map((name) => stage.ask(name));
  await stage.opens(...refused);
  for (const name of refused) stage.refuse(name, '3D000');
  await Promise.all(asked);
  stage.queries.sweep();
  expect(await stage.ask('made_up_1')).toBe('made_up_1 is refused');
  void stage.ask('made_up_0');
  await stage.opens('made_up_0');
  void stage.ask('one more');
  await stage.opens('made_up_0', 'one more');
});

describe('what PostgreSQL says where it does not let auth_user in', () => {
  test.for<readonly [what: string, sqlstate: string, said: string, told: string | null, routine?: string]>([
    ['there is no such database', '3D000', 'database "x" does not exist', null],
    ['it takes no connections', '55000', 'database "x" is not currently accepting connections', null],
    ['it is not for auth_user', '42501', 'permission denied for database "x"', null],
    ['it is full', '53300', 'zu viele Verbindungen für Datenbank »made_up«', null],
    ['it is full, in other letters', '53300', 'zu viele f\ufffdr sie', null, 'CheckMyDatabase'],
    ['the server is full', '53300', 'sorry, too many clients already', 'sorry, too many clients already'],
    ['it is full with its name in it', '53300', 'made_up clients', 'made_up clients', 'InitProcess'],
    ['no rule is for auth_user there', '28000', 'no pg_hba.conf entry', null],
    ['auth_user has another password', '28P01', 'password authentication failed', null],
    ['the server shuts down', '57P01', 'going down', 'going down'],
  ])('is no such user to whoever has named the database himself: %s', async ([
    ,
    sqlstate,
    said,
    told,
    routine,
  ]) => {
    const stage = new Stage();
    const serverError = errorOf(
      { sqlstate, message: said, ...(routine === undefined ? {} : { routine }) },
      '',
    );
    const refuse = async (): Promise<void> => {
      await stage.opens('made_up');
      stage.fail('made_up', { message: '', serverError, failWaiting: true });
    };
    const guessed = stage.find('made_up', true);
    await refuse();
    const failed = (message: string) =>
      expect.objectContaining({ error: expect.objectContaining({ message }) });
    expect(await guessed).toEqual(told === null ? { kind: 'none', isUnsure: true } : failed(told));
    // An operator’s is told, but nothing of auth_user.
    const named = await stage.find('made_up', false);
    expect(named).toEqual(failed(sqlstate.startsWith('28') ? 'bouncer config error' : said));
  });
});
