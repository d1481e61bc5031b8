/** The other thread, as what `node:worker_threads` gives: one side has the worker, the other one its parent's port. */
export interface Mailbox {
  postMessage(message: unknown, transferred: []): void;
  on(event: 'message', listener: (message: Envelope) => void): unknown;
}

/** What one side wants to know of the other: a kind, and plain data. */
interface Asked {
  readonly kind: string;
}

/** Whether a question stays somebody's when it has been answered, until another one does: it may be aborted still. */
export type Lasting = (question: Asked, answer: unknown) => boolean;

/**
 * Carries out what the other side asks. `signal` aborts when that side doesn't wait for it any more. What is thrown gets to
 * the other side as an error with its text.
 */
export type Answerer<Q extends Asked> = (question: Q, signal: AbortSignal) => unknown;

type Envelope =
  | { readonly is: 'question'; readonly id: number; readonly question: Asked }
  | { readonly is: 'answer'; readonly id: number; readonly answer: unknown }
  | { readonly is: 'failure'; readonly id: number; readonly message: string }
  | { readonly is: 'abort'; readonly id: number }
  | { readonly is: 'notice'; readonly notice: Asked };

/** The other thread is gone, or was: what was asked of it has no answer. */
export class ThreadGone extends Error {
  override readonly name = 'ThreadGone';
}

/**
 * Questions, answers and notices between two threads. What is told on one side before something is asked is heard on the
 * other before that is.
 */
export class Correspondence<
  Question extends Asked,
  Notice extends Asked,
  HisQuestion extends Asked,
  HisNotice extends Asked,
> {
  readonly #box: Mailbox;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  /** What the other side waits for, or may abort still. */
  readonly #busy = new Map<number, AbortController>();
  readonly #lasts: Lasting;
  /** The last question of each side that lasts: what stops listening for its end, and its number. */
  #forgetAsked: () => void = () => {};
  #lastAnswered = 0;
  #nextId = 1;
  #isCut = false;

  /** `lasts` has to be the same on both sides; default: nothing does. */
  constructor(
    box: Mailbox,
    answerer: Answerer<HisQuestion>,
    hear: (notice: HisNotice) => void,
    lasts: Lasting = () => false,
  ) {
    this.#box = box;
    this.#lasts = lasts;
    box.on('message', (envelope: Envelope) => {
      switch (envelope.is) {
        case 'question':
          void this.#answer(envelope.id, envelope.question as HisQuestion, answerer);
          break;
        case 'answer':
          this.#take(envelope.id)?.resolve(envelope.answer);
          break;
        case 'failure':
          this.#take(envelope.id)?.reject(new Error(envelope.message));
          break;
        case 'abort':
          this.#busy.get(envelope.id)?.abort();
          break;
        case 'notice':
          hear(envelope.notice as HisNotice);
          break;
      }
    });
  }

  /** Resolves with the answer; rejects with ThreadGone when the other thread ends first. */
  ask(question: Question, signal?: AbortSignal): Promise<unknown> {
    if (this.#isCut) return Promise.reject(new ThreadGone('the thread has ended'));
    const id = this.#nextId++;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(id, waiting);
    this.#post({ is: 'question', id, question });
    if (signal === undefined) return waiting.promise;
    const abort = (): void => this.#post({ is: 'abort', id });
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    const forget = (): void => signal.removeEventListener('abort', abort);
    return waiting.promise.then(
      (answer) => {
        if (this.#lasts(question, answer)) {
          this.#forgetAsked();
          this.#forgetAsked = forget;
        } else {
          forget();
        }
        return answer;
      },
      (error: unknown) => {
        forget();
        throw error;
      },
    );
  }

  tell(notice: Notice): void {
    this.#post({ is: 'notice', notice });
  }

  /** The other thread has ended. */
  cut(): void {
    this.#isCut = true;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(new ThreadGone('the thread has ended'));
    for (const controller of this.#busy.values()) controller.abort();
  }

  #post(envelope: Envelope): void {
    // A worker has no list of what is handed over with a message: descriptors are plain numbers.
    if (!this.#isCut) this.#box.postMessage(envelope, []);
  }

  #take(id: number): PromiseWithResolvers<unknown> | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }

  async #answer(id: number, question: HisQuestion, answerer: Answerer<HisQuestion>): Promise<void> {
    const controller = new AbortController();
    this.#busy.set(id, controller);
    try {
      const answer: unknown = await answerer(question, controller.signal);
      this.#post({ is: 'answer', id, answer });
      if (this.#lasts(question, answer)) {
        this.#busy.delete(this.#lastAnswered);
        this.#lastAnswered = id;
        return;
      }
    } catch (error) {
      this.#post({ is: 'failure', id, message: error instanceof Error ? error.message : String(error) });
    }
    this.#busy.delete(id);
  }
}
