import { RareMap } from '../base/rare.ts';
import type { ReadingChange } from '../prepared/sql-reading.ts';
import type { Statement, StatementCache } from '../prepared/statement.ts';
import type { TextChange } from '../prepared/text-change.ts';

/**
 * What the unnamed statement is, or a portal of that or of a statement with a name, while it names another or changes how
 * texts are read: what executing it will change.
 */
export interface UnnamedForm {
  readonly kind: 'prepare' | 'execute' | 'deallocate' | 'drop' | 'change';
  readonly name: string;
  /** Held for as long as this stands for the unnamed statement or a portal; null: none. */
  readonly statement: Statement | null;
  /** Of a PREPARE whose name was taken: what its text names, so that it fails. Held, too. */
  readonly taken: Statement | null;
  readonly names: ReadonlyMap<string, string>;
  readonly text: TextChange | null;
  /** Of how texts are read. */
  readonly change: ReadingChange | null;
}

const NO_NAMES: ReadonlyMap<string, string> = new Map();
const NOTHING = { name: '', statement: null, taken: null, names: NO_NAMES, text: null };

/** DISCARD ALL, DEALLOCATE ALL. One for each: forms are told apart by identity. */
export function dropping(change: ReadingChange | null): UnnamedForm {
  return { ...NOTHING, kind: 'drop', change };
}

/** SET and the like. One for each, too. */
export function changing(change: ReadingChange): UnnamedForm {
  return { ...NOTHING, kind: 'change', change };
}

/** So many names are remembered of forms that have been followed by another unnamed statement. */
const FORMER_NAMES = 16;

/** So many portals are known by name. */
const PORTALS = 64;

/** What stands for the unnamed statement once a Parse is done; null: nothing of concern. */
interface Standing {
  form: UnnamedForm | null;
  /** What it is as long as that Parse is not answered: skipped, it leaves it there. */
  before: Standing | null;
  isSkipped: boolean;
}

/** What becomes of a Parse that was sent. */
export interface ParseFate {
  done(): void;
  /** PostgreSQL drops the unnamed statement before it reads the text. */
  failed(): void;
  skipped(): void;
}

/** The unnamed statement and the portals, as far as they name other statements or change how texts are read. */
export class UnnamedForms {
  readonly #cache: StatementCache;
  #standing: Standing | null = null;
  /** By the portal's name; latin1, empty for the unnamed one. */
  readonly #portals = new RareMap<string, UnnamedForm>();
  /** The client's names by those for servers, of what stood there before: a Parse that is skipped leaves it there. */
  readonly #former = new RareMap<string, string>();

  constructor(cache: StatementCache) {
    this.#cache = cache;
  }

  /** Whether a Bind has to be noticed. */
  get areAny(): boolean {
    return this.#statement !== null || this.#portals.size > 0;
  }

  /** Whether any Parse has to be noticed. */
  get isStanding(): boolean {
    return this.#standing !== null;
  }

  get hasPortals(): boolean {
    return this.#portals.size > 0;
  }

  get #statement(): UnnamedForm | null {
    return this.#standing?.form ?? null;
  }

  /** The statements that have to be there when these are bound or executed; null: none. */
  statements(): Set<Statement> | null {
    if (this.#standing === null && this.#portals.size === 0) return null;
    const all = new Set<Statement>();
    const add = (form: UnnamedForm | null) => {
      for (const statement of statementsOf(form)) all.add(statement);
    };
    for (let each = this.#standing; each !== null; each = each.before) add(each.form);
    for (const form of this.#portals.values()) add(form);
    return all;
  }

  /** What a Bind of the unnamed statement may be of that builds on another one; what a PREPARE makes is not there before. */
  basedForms(): (UnnamedForm & { readonly statement: Statement })[] {
    const based = [];
    for (let each = this.#standing; each !== null; each = each.before) {
      const { form } = each;
      const statement = form?.statement ?? null;
      if (form !== null && statement !== null && form.kind !== 'prepare') based.push({ ...form, statement });
    }
    return based;
  }

  /** A Parse is sent that makes the unnamed statement this. */
  parsed(form: UnnamedForm | null): ParseFate {
    const before = this.#standing;
    if (before !== null) this.#remember(before);
    const now: Standing = { form, before, isSkipped: false };
    this.#standing = now;
    this.hold(form);
    return {
      done: () => this.#settle(now),
      failed: () => {
        this.#closeOf(form);
        this.#drop(now);
        this.#settle(now);
      },
      skipped: () => {
        this.#closeOf(form);
        this.#drop(now);
        now.isSkipped = true;
        this.#look();
      },
    };
  }

  /** There is no unnamed statement any more. */
  dropped(): void {
    const before = this.#standing;
    this.#standing = null;
    if (before === null) return;
    this.#remember(before);
    this.#drop(before);
    this.#settle(before);
  }

  /** Whatever stood there before is gone. */
  #settle(standing: Standing): void {
    for (let each = standing.before; each !== null; each = each.before) this.#drop(each);
    standing.before = null;
    this.#look();
  }

  #drop(standing: Standing): void {
    const { form } = standing;
    if (form === null) return;
    standing.form = null;
    this.release(form);
  }

  /** Passes over what was skipped, and what stands for nothing for good. */
  #look(): void {
    while (this.#standing?.isSkipped === true) this.#standing = this.#standing.before;
    if (this.#standing?.form === null && this.#standing.before === null) this.#standing = null;
  }

  /** What the client called the statement that a text names which was parsed without a name lately; null: nobody knows. */
  formerName(serverName: string): string | null {
    return this.#former.get(serverName) ?? null;
  }

  #remember({ form }: Standing): void {
    for (const [serverName, name] of form?.names ?? NO_NAMES) {
      this.#former.delete(serverName);
      this.#former.set(serverName, name);
    }
    for (const serverName of this.#former.keys()) {
      if (this.#former.size <= FORMER_NAMES) break;
      this.#former.delete(serverName);
    }
  }

  /** A portal is made, of the unnamed statement or of another. */
  bound(portal: string, isUnnamedStatement: boolean): void {
    this.boundTo(portal, isUnnamedStatement ? this.#statement : null);
  }

  /** A portal is made that is this. */
  boundTo(portal: string, form: UnnamedForm | null): void {
    this.hold(form);
    this.closed(portal);
    if (form !== null) this.#portals.set(portal, form);
  }

  /** There are so many portals that all of them have to be forgotten. */
  get hasTooMany(): boolean {
    return this.#portals.size > PORTALS;
  }

  portal(name: string): UnnamedForm | null {
    return this.#portals.get(name) ?? null;
  }

  /** A portal is gone. */
  closed(portal: string): void {
    if (this.#portals.size === 0) return;
    const form = this.#portals.get(portal);
    if (form === undefined) return;
    this.#portals.delete(portal);
    this.release(form);
  }

  /** There are no portals of it. */
  #closeOf(form: UnnamedForm | null): void {
    for (const [portal, its] of this.#portals) if (its === form) this.closed(portal);
  }

  /** The transaction is over, and portals with it. */
  endPortals(): void {
    if (this.#portals.size === 0) return;
    for (const portal of this.#portals.keys()) this.closed(portal);
  }

  end(): void {
    this.dropped();
    this.endPortals();
  }

  hold(form: UnnamedForm | null): void {
    for (const statement of statementsOf(form)) statement.users++;
  }

  release(form: UnnamedForm | null): void {
    for (const statement of statementsOf(form)) this.#cache.release(statement);
  }
}

function statementsOf(form: UnnamedForm | null): Statement[] {
  return form === null ? [] : [form.statement, form.taken].filter((each) => each !== null);
}
