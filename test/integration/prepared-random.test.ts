import { beforeAll, expect, test } from 'vitest';
import type { ServerEnd } from '../../src/relay/link.ts';
import { frontend } from '../support/peer-messages.ts';
import { startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { createRole } from '../support/roles.ts';
import { byEffort } from '../support/effort.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';

const ROLE = 'prepared_random';
const { parse, bindTexts, describe: describing, execute, close, sync, query } = frontend;
const ROUNDS = byEffort({ quick: 50, wide: 150, full: 150 });
const NAMES = ['a', 'b', 'c', 'd'];

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
});

/** One client and what it knows to have prepared: each name's tag, which its rows have to be. */
class Actor {
  readonly client: WireClient;
  readonly #random: Random;
  readonly #names = new Map<string, string>();
  #inTransaction = false;
  readonly history: string[] = [];

  constructor(client: WireClient, random: Random) {
    this.client = client;
    this.#random = random;
  }

  /** A few requests in one go, cut anywhere; checks their answers. */
  async act(): Promise<void> {
    const random = this.#random;
    const bytes: Buffer[] = [];
    const expected: string[][] = [];
    for (let stretch = random.below(4); stretch >= 0; stretch--) {
      if (random.below(3) === 0) this.#simple(bytes, expected);
      else this.#extended(bytes, expected);
    }
    const all = Buffer.concat(bytes);
    const cuts =
      random.below(20) === 0
        ? Array.from(all.keys())
        : Array.from({ length: random.below(4) }, () => random.below(all.length)).sort((x, y) => x - y);
    let from = 0;
    for (const to of [...cuts, all.length]) {
      await this.client.send(all.subarray(from, to));
      from = to;
      await new Promise<void>((done) => void setImmediate(done));
    }
    for (const each of expected) {
      const { rows, errors } = await this.client.answer();
      const got = [
        ...rows.flat(),
        ...errors.map(({ C, M }) =>
          each.includes(C ?? '') && /"[a-d]"|wrong/.test(M ?? '') ? C : `${C} ${M}`,
        ),
      ];
      expect(got, this.history.slice(-12).join('\n')).toEqual(each);
    }
  }

  async rest(): Promise<void> {
    if (this.#inTransaction) await this.client.query('COMMIT');
    this.#inTransaction = false;
  }

  /** Statements are let through as they are: none of them is there behind it. */
  async letThrough(): Promise<void> {
    this.history.push('max_prepared_statements is 0 for a while');
    await this.client.query('SELECT 1');
    this.#names.clear();
  }

  get #text(): string {
    return `t${this.#random.below(6)}`;
  }

  #simple(bytes: Buffer[], expected: string[][]): void {
    const random = this.#random;
    const name = random.pick(NAMES);
    const tag = this.#text;
    const known = this.#names.get(name);
    const choices: (() => [string, string[]])[] = [
      () => {
        if (known === undefined) this.#names.set(name, tag);
        return [`PREPARE ${name} AS SELECT '${tag}'`, known === undefined ? [] : ['42P05']];
      },
      () => [`EXECUTE ${name}`, [known ?? '26000']],
      () => {
        this.#names.delete(name);
        return [`DEALLOCATE ${name}`, known === undefined ? ['26000'] : []];
      },
      () => {
        this.#names.clear();
        return ['DEALLOCATE ALL', []];
      },
      () => {
        this.#names.clear();
        this.#names.set(name, tag);
        return [`DEALLOCATE ALL; PREPARE ${name} AS SELECT '${tag}'; EXECUTE ${name}`, [tag]];
      },
      () => [`SELECT '${tag}'`, [tag]],
      () => {
        this.#inTransaction = !this.#inTransaction;
        return [this.#inTransaction ? 'BEGIN' : 'COMMIT', []];
      },
    ];
    const [sql, answer] = random.pick(choices)();
    // An error ends the transaction; so it is begun anew ahead of what may fail.
    if (answer.some((each) => each.length === 5) && this.#inTransaction) {
      bytes.push(query('COMMIT'));
      expected.push([]);
      this.#inTransaction = false;
      this.history.push('COMMIT');
    }
    this.history.push(`${sql} → ${answer.join()}`);
    bytes.push(query(sql));
    expected.push(answer);
  }

  #extended(bytes: Buffer[], expected: string[][]): void {
    const random = this.#random;
    const answer: string[] = [];
    const messages: Buffer[] = [];
    const names = new Map(this.#names);
    let failed = false;
    const add = (text: string, ...more: Buffer[]) => {
      this.history.push(`  ${text}${failed ? ' (skipped)' : ''}`);
      messages.push(...more);
    };
    const fail = (code: string) => {
      if (!failed) answer.push(code);
      failed = true;
    };
    for (let i = random.below(6); i >= 0; i--) {
      const name = random.pick(NAMES);
      const known = names.get(name);
      switch (random.below(5)) {
        case 0: {
          const tag = this.#text;
          add(`Parse ${name} ${tag}`, parse(name, `SELECT '${tag}'`));
          if (known !== undefined) fail('42P05');
          else if (!failed) names.set(name, tag);
          break;
        }
        case 1:
        case 2:
          add(`Run ${name}`, bindTexts('', name, []), execute(''));
          if (known === undefined) fail('26000');
          else if (!failed) answer.push(known);
          break;
        case 3:
          add(`Close ${name}`, close('S', name));
          if (!failed) names.delete(name);
          break;
        default:
          if (random.below(4) === 0) {
            add('Parse wrong', parse(name, 'SELECT wrong'));
            fail(known === undefined ? '42703' : '42P05|42703');
          } else {
            add(`Describe ${name}`, describing('S', name));
            if (known === undefined) fail('26000');
          }
      }
    }
    if (failed && this.#inTransaction) {
      bytes.push(query('COMMIT'));
      expected.push([]);
      this.#inTransaction = false;
    }
    if (answer.includes('42P05|42703')) answer[answer.indexOf('42P05|42703')] = '42703';
    this.history.push(`  Sync → ${answer.join()}`);
    this.#names.clear();
    for (const [name, tag] of names) this.#names.set(name, tag);
    bytes.push(...messages, sync());
    expected.push(answer);
  }
}

test('clients at random get their own statements’ rows, and nothing is left of them', async () => {
  await withSeed(async (random) => {
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 2, max_prepared_statements: 2 },
      userlist: { [ROLE]: '' },
      databases: { postgres: '' },
    });
    const login = { user: ROLE, database: 'postgres' };
    const connect = async () => new Actor(await WireClient.connect(pooler.port, login), random);
    const actors = await Promise.all([connect(), connect(), connect(), connect()]);
    for (let round = 0; round < ROUNDS; round++) {
      await Promise.all(actors.slice(0, 2).map((actor) => actor.act()));
      await Promise.all(actors.slice(0, 2).map((actor) => actor.rest()));
      await Promise.all(actors.slice(2).map((actor) => actor.act()));
      await Promise.all(actors.slice(2).map((actor) => actor.rest()));
      if (random.below(8) === 0) {
        const [left] = actors.splice(random.below(4), 1);
        if (random.below(2) === 0)
          void left?.client.send(parse('x', 'SELECT pg_sleep(0)'), query('SELECT 1'));
        await left?.client.peer.close();
        actors.push(await connect());
      }
      if (random.below(8) === 0)
        await pooler.reload({ settings: { max_prepared_statements: 1 + random.below(3) } });
      if (random.below(16) === 0) {
        await pooler.reload({ settings: { max_prepared_statements: 0 } });
        for (const actor of actors) await actor.letThrough();
        await pooler.reload({ settings: { max_prepared_statements: 2 } });
      }
    }
    const { state } = pooler.pooler;
    const [first] = state.sessions.values();
    if (first === undefined) throw new Error('no client is left');
    const { pool } = first;
    const { cache } = first.prepared;
    for (const { client } of actors) await client.peer.close();
    const { servers } = pool;
    await waitFor(() => state.sessions.size === 0 && servers.active.length + servers.closing.length === 0);
    const known = new Set<unknown>();
    for (const server of [...servers.idle, ...servers.used]) {
      const { statements } = server as unknown as ServerEnd;
      for (const [statement] of statements.entries()) known.add(statement);
    }
    expect(cache.size).toBe(known.size);
    await pooler.show('RECONNECT');
    await waitFor(() => cache.size === 0);
  });
}, 120_000);
