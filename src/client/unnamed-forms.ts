import { RareMap } from '../base/rare.ts';
import { type Change, type Holder, Ledger, type LedgerChange, type Unsettled } from '../prepared/ledger.ts';
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
  /** It drops all, or what it carries out does. */
  readonly drops: boolean;
}

const NO_NAMES: ReadonlyMap<string, string> = new Map();
const NOTHING = { name: '', statement: null, taken: null, names: NO_NAMES, text: null, drops: false };

/** DISCARD ALL, DEALLOCATE ALL. */
export function dropping(change: ReadingChange | null): UnnamedForm {
  return { ...NOTHING, kind: 'drop', change, drops: true };
}

/** SET and the like. */
export function changing(change: ReadingChange): UnnamedForm {
  return { ...NOTHING, kind: 'change', change };
}

/** So many names are remembered of forms that have been followed by another unnamed statement. */
const FORMER_NAMES = 16;

/** So many portals are known. */
const PORTALS = 64;

/**
 * The unnamed statement and the portals, as far as they name other statements or change how texts are read, with the
 * Parses, Binds and Closes that are on their way.
 */
export class UnnamedForms implements Holder<UnnamedForm> {
  readonly #cache: StatementCache;
  /** By the unnamed statement's name; null: there has been nothing of concern. */
  #statement: Ledger<'', UnnamedForm> | null = null;
  /** By the portal's name; latin1, empty for the unnamed one. What is gone with its transaction may still stand here. */
  #portals: Ledger<string, UnnamedForm> | null = null;
  /** The client's names by those for servers, of what stood there before: a Parse that is skipped leaves it there. */
  readonly #former = new RareMap<string, string>();

  constructor(cache: StatementCache) {
    this.#cache = cache;
  }

  /** Whether a Bind has to be noticed. */
  get areAny(): boolean {
    return this.isStanding || this.hasPortals;
  }

  /** Whether any Parse has to be noticed. */
  get isStanding(): boolean {
    return this.#statement !== null && (this.#statement.size > 0 || this.#statement.hasPending);
  }

  get hasPortals(): boolean {
    return this.#portals !== null && (this.#portals.size > 0 || this.#portals.hasPending);
  }

  /** Whether any may be about other statements. */
  get mayName(): boolean {
    return this.#all().some(({ kind }) => kind !== 'change');
  }

  /** Those included that a failure may bring back. */
  #all(): UnnamedForm[] {
    return [...(this.#statement?.held() ?? []), ...(this.#portals?.held() ?? [])];
  }

  /** The statements that have to be there when these are bound or executed; null: none. */
  statements(): Set<Statement> | null {
    return this.areAny ? new Set(this.#all().flatMap(statementsOf)) : null;
  }

  /** What the unnamed statement is if all goes well. */
  get newest(): UnnamedForm | null {
    return this.#statement?.newest('') ?? null;
  }

  /** And a portal. */
  newestPortal(name: string): UnnamedForm | null {
    return this.#portals?.newest(name) ?? null;
  }

  /** What a Bind in stretch `segment` finds as the unnamed statement; null: nothing of concern. */
  unnamed(segment: number): UnnamedForm | null | Unsettled {
    return this.#statement?.getBehind('', segment) ?? null;
  }

  /**
   * A Parse is sent in stretch `segment` that makes the unnamed statement this. Where it fails that is lost: PostgreSQL
   * drops the unnamed statement before it reads the text.
   */
  parsed(form: UnnamedForm | null, segment: number): LedgerChange {
    this.#remember();
    this.#statement ??= new Ledger(this);
    return this.#statement.set('', form, segment);
  }

  /** There is no unnamed statement any more. */
  dropped(): void {
    if (!this.isStanding) return;
    this.#remember();
    this.#statement?.end();
  }

  /** What the client called the statement that a text names which was parsed without a name lately; null: nobody knows. */
  formerName(serverName: string): string | null {
    return this.#former.get(serverName) ?? null;
  }

  #remember(): void {
    for (const [, { names }] of this.#statement?.entries() ?? []) {
      for (const [serverName, name] of names) {
        this.#former.delete(serverName);
        this.#former.set(serverName, name);
      }
    }
    for (const serverName of this.#former.keys()) {
      if (this.#former.size <= FORMER_NAMES) break;
      this.#former.delete(serverName);
    }
  }

  /** Whether a portal of this name is or may be of concern. */
  concerns(portal: string): boolean {
    return this.#portals !== null && (this.#portals.holds(portal) || this.#portals.isPending(portal));
  }

  /** Whether one more portal may be of concern. */
  hasRoomFor(portal: string): boolean {
    return this.#portals === null || this.#portals.size < PORTALS || this.#portals.holds(portal);
  }

  /** A Bind (null: or Close) is sent in stretch `segment` that makes the portal this. Gives what hangs on its answer. */
  boundTo(portal: string, form: UnnamedForm | null, segment: number): Change | null {
    if (form === null && !this.concerns(portal)) return null;
    this.#portals ??= new Ledger(this);
    return this.#portals.set(portal, form, segment);
  }

  /** What an Execute in stretch `segment` finds. */
  portal(name: string, segment: number): UnnamedForm | null | Unsettled {
    return this.#portals?.getBehind(name, segment) ?? null;
  }

  /** The transaction is over, and portals with it. */
  endPortals(): void {
    if (this.hasPortals) this.#portals?.end();
  }

  end(): void {
    this.dropped();
    this.endPortals();
  }

  keep(form: UnnamedForm): void {
    for (const statement of statementsOf(form)) this.#cache.keep(statement);
  }

  release(form: UnnamedForm): void {
    for (const statement of statementsOf(form)) this.#cache.release(statement);
  }
}

function statementsOf({ statement, taken }: UnnamedForm): Statement[] {
  return [statement, taken].filter((each) => each !== null);
}
