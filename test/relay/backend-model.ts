/**
 * What a PostgreSQL backend does with the messages it reads, as far as it shows in the types of its answers:
 * the main loop, skipping to Sync after an error in the extended protocol, COPY IN, transaction blocks.
 * One message is read per step, so that a test decides how far the backend has come.
 */
export interface Request {
  /** Type letter. */
  readonly type: string;
  /** How it goes: what a statement is, or whether a message fails. */
  readonly kind: Kind;
}

export type Kind = 'ok' | 'empty' | 'error' | 'begin' | 'commit' | 'copy' | 'suspended' | 'function';

/** An answer's type letter; ReadyForQuery with its status: `ZI`, `ZT`, `ZE`. */
export type Answer = string;

export class BackendModel {
  readonly input: Request[] = [];
  #mode: 'normal' | 'skipping' | 'simple copy' | 'extended copy' = 'normal';
  #block: 'I' | 'T' | 'E' = 'I';
  /** Extended requests were answered outside a block, and no Sync has ended their transaction yet. */
  #isImplicit = false;
  /** The protocol was broken beyond repair: the backend has ended. */
  isDead = false;

  /** Another client could have this connection: nothing runs, nothing is open, nothing waits to be read. */
  get isClean(): boolean {
    const leftovers = this.input.every(({ type }) => 'dcfH'.includes(type));
    return leftovers && this.#mode === 'normal' && this.#block === 'I' && !this.#isImplicit;
  }

  get isSkipping(): boolean {
    return this.#mode === 'skipping';
  }

  get isInCopy(): boolean {
    return this.#mode === 'simple copy' || this.#mode === 'extended copy';
  }

  /** Reads one message; gives the answers to it. */
  step(): Answer[] {
    const request = this.input.shift();
    if (request === undefined || this.isDead) return [];
    if (this.isInCopy) return this.#copy(request);
    if ('dcfH'.includes(request.type)) return [];
    if (request.type === 'S') {
      this.#mode = 'normal';
      return this.#ready();
    }
    if (this.#mode === 'skipping') return [];
    return request.type === 'Q' || request.type === 'F' ? this.#simple(request) : this.#extended(request);
  }

  /** The statement in COPY IN fails by itself: a cancel, say. */
  cancel(): Answer[] {
    return this.isInCopy ? this.#copyFailed() : [];
  }

  #simple({ kind, type }: Request): Answer[] {
    if (kind === 'copy' && type === 'Q' && this.#block !== 'E') {
      this.#mode = 'simple copy';
      return ['G'];
    }
    const answers = this.#run(kind, type === 'F' ? ['V'] : ['T', 'D', 'C']);
    return [...answers, ...this.#ready()];
  }

  #extended({ kind, type }: Request): Answer[] {
    if (kind === 'error') return this.#skip();
    if (type !== 'E') {
      this.#isImplicit = this.#block === 'I';
      return [{ P: '1', B: '2', C: '3', D: 'T' }[type] as string];
    }
    if (kind === 'copy' && this.#block !== 'E') {
      this.#mode = 'extended copy';
      return ['G'];
    }
    const answers = this.#run(kind, kind === 'suspended' ? ['D', 's'] : ['D', 'C']);
    if (answers[0] === 'E') this.#mode = 'skipping';
    else this.#isImplicit = this.#block === 'I';
    return answers;
  }

  #run(kind: Kind, success: Answer[]): Answer[] {
    if (kind === 'empty') return ['I'];
    if (kind === 'commit') {
      this.#block = 'I';
      this.#isImplicit = false;
      return ['C'];
    }
    if (kind === 'error' || kind === 'copy' || this.#block === 'E') {
      this.#abort();
      return ['E'];
    }
    if (kind === 'begin') {
      this.#block = 'T';
      return ['C'];
    }
    return success;
  }

  #copy({ type, kind }: Request): Answer[] {
    if (type === 'S' || type === 'H') return [];
    if (type === 'f' || (type === 'd' && kind === 'error')) return this.#copyFailed();
    if (type === 'd') return [];
    if (type !== 'c') {
      this.isDead = true;
      return ['E'];
    }
    const isSimple = this.#mode === 'simple copy';
    this.#mode = 'normal';
    if (isSimple) return ['C', ...this.#ready()];
    this.#isImplicit = this.#block === 'I';
    return ['C'];
  }

  #copyFailed(): Answer[] {
    if (this.#mode === 'extended copy') return this.#skip();
    this.#mode = 'normal';
    this.#abort();
    return ['E', ...this.#ready()];
  }

  #skip(): Answer[] {
    this.#mode = 'skipping';
    this.#abort();
    return ['E'];
  }

  #abort(): void {
    this.#isImplicit = false;
    if (this.#block === 'T') this.#block = 'E';
  }

  #ready(): Answer[] {
    this.#isImplicit = false;
    return [`Z${this.#block}`];
  }
}
