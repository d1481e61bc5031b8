import type { Random } from './random.ts';

/** SQL, the tag of its CommandComplete, the status behind it. */
type Step = readonly [sql: string, tag: string, status: string];

/** A transaction, or a single statement outside of one ({@link end} null). */
interface ParameterChange {
  readonly statements: readonly Step[];
  /** COMMIT or ROLLBACK, and its tag. */
  readonly end: readonly [sql: string, tag: string] | null;
  /** A statement that fails goes ahead of that. */
  readonly failsAtEnd: boolean;
}

/** What isolation tests track: one that PostgreSQL checks, one that it reports (from version 18 on), one of nobody's. */
export const FOLLOWED = ['work_mem', 'search_path', 'isolation.kept'] as const;
/** And one that is tracked always. */
const NAMES = [...FOLLOWED, 'application_name'] as const;
type Followed = (typeof NAMES)[number];
type Values = Partial<Record<Followed, string>>;

/** What a server has of its own. */
const DEFAULTS = {
  work_mem: '4MB',
  search_path: '"$user", public',
  'isolation.kept': '',
  application_name: '',
} as const;

/** The parameters of one client as they have to be, whatever other clients do. */
export class FollowedParameters {
  /** For its start. */
  readonly given: Readonly<Values>;
  readonly #random: Random;
  readonly #tag: () => string;
  #now: Values;

  constructor(random: Random, tag: () => string) {
    this.#random = random;
    this.#tag = tag;
    const given: Values = { application_name: tag() };
    for (const name of FOLLOWED) if (random.below(4) === 0) given[name] = this.#value(name);
    this.given = given;
    this.#now = { ...given };
  }

  /** Shows all of them. */
  get sql(): string {
    return `SELECT ${NAMES.map((name) => `coalesce(current_setting('${name}', true), '')`).join(', ')}`;
  }

  /** The row that this gives. */
  get values(): string[] {
    return NAMES.map((name) => this.#now[name] ?? DEFAULTS[name]);
  }

  /** Null: it is none of them. */
  value(name: string): string | null {
    const known = NAMES.find((each) => each === name);
    return known === undefined ? null : (this.#now[known] ?? DEFAULTS[known]);
  }

  /** It was set outside of {@link change}. */
  set(name: Followed, value: string): void {
    this.#now = { ...this.#now, [name]: value };
  }

  change(): ParameterChange {
    const random = this.#random;
    if (random.below(3) === 0) {
      const [sql, tag, after] = this.#step(this.#now);
      this.#now = after;
      return { statements: [[sql, tag, 'I']], end: null, failsAtEnd: false };
    }
    const statements: Step[] = [['BEGIN', 'BEGIN', 'T']];
    let now = this.#now;
    let saved: typeof now | null = null;
    let isReset = false;
    for (let i = random.below(5); i >= 0; i--) {
      const what = random.below(10);
      if (what < 6) {
        const [sql, tag, after] = this.#step(now);
        statements.push([sql, tag, 'T']);
        now = after;
        isReset ||= tag === 'RESET';
      } else if (what < 8 && !isReset) {
        // Behind a RESET it would count as one: PostgreSQL says then that the value from before was set.
        const name = random.pick(NAMES);
        statements.push([`SET LOCAL ${name} = ${this.#literal(name, this.#value(name))}`, 'SET', 'T']);
      } else if (saved === null) {
        statements.push(['SAVEPOINT s', 'SAVEPOINT', 'T']);
        saved = now;
      } else {
        statements.push(['ROLLBACK TO s', 'ROLLBACK', 'T']);
        now = saved;
      }
    }
    const ending = random.below(4);
    if (ending < 2) this.#now = now;
    if (ending === 0) return { statements, end: ['END', 'COMMIT'], failsAtEnd: false };
    if (ending === 1) return { statements, end: ['COMMIT', 'COMMIT'], failsAtEnd: false };
    return { statements, end: ['ROLLBACK', 'ROLLBACK'], failsAtEnd: ending === 3 };
  }

  #step(now: Values): [sql: string, tag: string, after: typeof now] {
    const random = this.#random;
    const name = random.pick(NAMES);
    const after = { ...now };
    const what = random.below(8);
    if (what === 0) return ['RESET ALL', 'RESET', { ...this.given }];
    if (what < 3) {
      delete after[name];
      if (this.given[name] !== undefined) after[name] = this.given[name];
      return [`RESET ${name}`, 'RESET', after];
    }
    const value = this.#value(name);
    after[name] = value;
    const scope = random.pick(['', 'SESSION ']);
    return [`SET ${scope}${name} ${random.pick(['=', 'TO'])} ${this.#literal(name, value)}`, 'SET', after];
  }

  /** In the spelling that PostgreSQL shows. */
  #value(name: Followed): string {
    if (name === 'work_mem') return `${1025 + this.#random.below(1000) * 2}kB`;
    const tag = this.#tag();
    if (name === 'application_name') return tag;
    return name === 'search_path' ? `"${tag}", public` : `{"it's": "${tag}\\"}`;
  }

  #literal(name: Followed, value: string): string {
    return name === 'search_path' ? value : `E'${value.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`;
  }
}
