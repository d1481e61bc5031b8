import { frontend } from './peer-messages.ts';
import type { Random } from './random.ts';
import type { Expected } from './isolation-actor.ts';

/** One request to do with prepared statements, and the answer to it. */
export interface StatementStep {
  readonly bytes: Buffer;
  readonly expected: Expected;
}

const NAMES = ['a', 'b', 'c', 'd'];

/** Texts of which clients share some: they get one statement on a server, whatever each calls it. */
const SHARED = ["SELECT 'one ' || $1::text", "SELECT 'two ' || $1::text", "SELECT 'three ' || $1::text"];

/** What one client has prepared, and random requests that give, use and take names, by protocol and as SQL. */
export class StatementNames {
  /** What a name's statement puts ahead of its parameter. */
  readonly #known = new Map<string, string>();
  readonly #random: Random;
  readonly #tag: () => string;

  constructor(random: Random, tag: () => string) {
    this.#random = random;
    this.#tag = tag;
  }

  step(): StatementStep {
    const name = this.#random.pick(NAMES);
    return this.#random.pick([
      () => this.#prepare(name),
      () => this.#run(name),
      () => this.#run(name),
      () => this.#close(name),
    ])();
  }

  /** A pipeline whose second request fails, so that the third is skipped and changes nothing. */
  failingPipeline(): StatementStep {
    const [first, last] = [this.#random.pick(NAMES), this.#random.pick(NAMES)];
    const value = this.#tag();
    const bytes = Buffer.concat([
      frontend.bindTexts('', first, [value]),
      frontend.execute(''),
      frontend.parse('', 'SELECT 1/0'),
      frontend.bindTexts('', '', []),
      frontend.execute(''),
      frontend.close('S', last),
      frontend.parse(last, 'SELECT 0'),
      frontend.sync(),
    ]);
    const text = this.#known.get(first);
    if (text === undefined) return { bytes, expected: { types: 'EZ', errors: [missing(first)] } };
    const expected = {
      types: '2DC1EZ',
      rows: [[`${text}${value}`]],
      tags: ['SELECT 1'],
      errors: [['22012', 'division by zero'] as [string, string]],
    };
    return { bytes, expected };
  }

  #prepare(name: string): StatementStep {
    const own = this.#tag();
    const sql = this.#random.below(2) === 0 ? this.#random.pick(SHARED) : `SELECT '${own} ' || $1::text`;
    const isSql = this.#random.below(3) === 0;
    const bytes = isSql
      ? frontend.query(`PREPARE ${name} (text) AS ${sql}`)
      : Buffer.concat([frontend.parse(name, sql), frontend.sync()]);
    if (this.#known.has(name)) return { bytes, expected: { types: 'EZ', errors: [taken(name)] } };
    this.#known.set(name, /'(.*)'/.exec(sql)?.[1] ?? '');
    return { bytes, expected: isSql ? { types: 'CZ', tags: ['PREPARE'] } : { types: '1Z' } };
  }

  #run(name: string): StatementStep {
    const value = this.#tag();
    const isSql = this.#random.below(3) === 0;
    const bytes = isSql
      ? frontend.query(`EXECUTE ${name}('${value}')`)
      : Buffer.concat([frontend.bindTexts('', name, [value]), frontend.execute(''), frontend.sync()]);
    const text = this.#known.get(name);
    if (text === undefined) return { bytes, expected: { types: 'EZ', errors: [missing(name)] } };
    const types = isSql ? 'TDCZ' : '2DCZ';
    return { bytes, expected: { types, rows: [[`${text}${value}`]], tags: ['SELECT 1'] } };
  }

  #close(name: string): StatementStep {
    const how = this.#random.below(6);
    if (how === 0) {
      this.#known.clear();
      return { bytes: frontend.query('DEALLOCATE ALL'), expected: { types: 'CZ', tags: ['DEALLOCATE ALL'] } };
    }
    const wasKnown = this.#known.delete(name);
    if (how < 4) {
      return {
        bytes: Buffer.concat([frontend.close('S', name), frontend.sync()]),
        expected: { types: '3Z' },
      };
    }
    const bytes = frontend.query(`DEALLOCATE ${name}`);
    if (!wasKnown) return { bytes, expected: { types: 'EZ', errors: [missing(name)] } };
    return { bytes, expected: { types: 'CZ', tags: ['DEALLOCATE'] } };
  }
}

function taken(name: string): [string, string] {
  return ['42P05', `prepared statement "${name}" already exists`];
}

function missing(name: string): [string, string] {
  return ['26000', `prepared statement "${name}" does not exist`];
}
