import { BackendType as B, FrontendType as F, TxStatus } from '../wire/codes.ts';
import { OutstandingQueue, ReplyAction } from './outstanding.ts';

/**
 * Keeps count of what a server connection still owes: which requests were sent, which answers came. From it
 * follows when a transaction has really ended, and so when another client may have the connection.
 *
 * | answer | ends |
 * | --- | --- |
 * | `1` `2` `3` | Parse, Bind, Close |
 * | `T` `n` | Describe |
 * | `C` `I` `s` | Execute |
 * | `Z` | Query, FunctionCall, Sync; after an error in the extended protocol everything up to the Sync |
 *
 * CopyDone and CopyFail have no answer of their own. They stand in the queue as marks, for a Sync that was
 * sent before them is swallowed by a server in COPY IN and never answered.
 * Source: manual, `protocol-flow` (Extended Query, COPY Operations).
 */
export class RequestTracker {
  readonly queue = new OutstandingQueue();
  /** Last status byte of ReadyForQuery. */
  txStatus: number = TxStatus.Idle;
  /** The server is in COPY IN (or COPY BOTH) mode. */
  isCopyIn = false;
  /**
   * After an error in COPY IN nobody can tell whether an earlier Sync was read during the COPY (no answer) or
   * after it (one more ReadyForQuery): the connection must be probed before it serves another client.
   */
  isUnsure = false;
  /** With action Rewrite: what replaces the answer message just passed to {@link received}. */
  replacement: Buffer | null = null;
  #skipsToSync = false;

  /** Between transactions, nothing owed. */
  get isClean(): boolean {
    return this.txStatus === TxStatus.Idle && this.isQuiet;
  }

  /** No answer is owed. */
  get isQuiet(): boolean {
    this.#dropCopyMarks();
    return this.queue.length === 0;
  }

  /** A client message of `type` goes to the server. */
  sent(type: number, action: ReplyAction = ReplyAction.Forward, payload: Buffer | null = null): void {
    switch (type) {
      case F.Query:
      case F.FunctionCall:
      case F.Sync:
      case F.Parse:
      case F.Bind:
      case F.Describe:
      case F.Execute:
      case F.Close:
        this.queue.push(type, action, payload);
        return;
      case F.CopyDone:
      case F.CopyFail:
        // Late ones, after the COPY's error, must not count: with nothing owed there is no COPY to end.
        if (this.queue.length > 0) this.queue.push(type);
        return;
    }
  }

  /** A server message of `type` (not ReadyForQuery) has come: what to do with it. */
  received(type: number): ReplyAction {
    this.#dropCopyMarks();
    const { queue } = this;
    const action = queue.headAction as ReplyAction;
    switch (type) {
      case B.NoticeResponse:
      case B.NotificationResponse:
      case B.ParameterStatus:
        return action === ReplyAction.Swallow && type === B.NoticeResponse
          ? ReplyAction.Swallow
          : ReplyAction.Forward;
      case B.ParseComplete:
        return this.#complete(F.Parse, action);
      case B.BindComplete:
        return this.#complete(F.Bind, action);
      case B.CloseComplete:
        return this.#complete(F.Close, action);
      case B.RowDescription:
      case B.NoData:
        return this.#complete(F.Describe, action);
      case B.CommandComplete:
        if (this.isCopyIn) this.#copyCompleted();
        return this.#complete(F.Execute, action);
      case B.EmptyQueryResponse:
      case B.PortalSuspended:
        return this.#complete(F.Execute, action);
      case B.CopyInResponse:
      case B.CopyBothResponse:
        this.isCopyIn = true;
        break;
      case B.ErrorResponse:
        this.#failed();
        break;
    }
    return action === ReplyAction.Rewrite ? ReplyAction.Forward : action;
  }

  /** ReadyForQuery with `status` has come: what to do with it. */
  readyForQuery(status: number): ReplyAction {
    this.#dropCopyMarks();
    const { queue } = this;
    const action = queue.headAction as ReplyAction;
    this.txStatus = status;
    this.isCopyIn = false;
    if (this.#skipsToSync) {
      this.#skipsToSync = false;
      this.#popThroughSync();
    } else {
      const type = queue.headType;
      if (type === F.Query || type === F.FunctionCall || type === F.Sync) queue.pop();
      else if (type !== 0) {
        // An answer that doesn't fit the question: forward it, but never trust the count again.
        this.isUnsure = true;
        this.#popThroughSync();
      }
    }
    this.#dropCopyMarks();
    return action === ReplyAction.Swallow ? ReplyAction.Swallow : ReplyAction.Forward;
  }

  /** An entry whose answer is ours to give is at the head: its bytes, taken out of the queue; else null. */
  takeSynthesized(): Buffer | null {
    if (this.queue.headAction !== ReplyAction.Synthesize) return null;
    const bytes = this.queue.headPayload;
    this.queue.pop();
    return bytes;
  }

  /** A new client, a new count. Only on a clean connection. */
  reset(): void {
    this.queue.clear();
    this.isCopyIn = false;
    this.isUnsure = false;
    this.#skipsToSync = false;
  }

  #complete(requestType: number, action: ReplyAction): ReplyAction {
    if (this.queue.headType !== requestType) {
      return action === ReplyAction.Rewrite ? ReplyAction.Forward : action;
    }
    this.replacement = this.queue.headPayload;
    this.queue.pop();
    return action;
  }

  #copyCompleted(): void {
    this.isCopyIn = false;
    const mark = this.#copyMark();
    if (mark > 0) this.queue.remove(1, mark);
  }

  #failed(): void {
    const { queue } = this;
    const head = queue.headType;
    if (this.isCopyIn) {
      this.isCopyIn = false;
      const mark = this.#copyMark();
      const last = mark > 0 ? mark : queue.length - 1;
      const sync = queue.indexOf(F.Sync, 1);
      if (sync > 0 && sync <= last) this.isUnsure = true;
      if (last > 0) queue.remove(1, last);
    }
    // A failed simple query or function call ends with its own ReadyForQuery, as does a failed Sync.
    if (head !== 0 && head !== F.Query && head !== F.FunctionCall) this.#skipsToSync = true;
  }

  /** Index of the CopyDone or CopyFail that ends the running COPY, or -1. */
  #copyMark(): number {
    for (let i = 1; i < this.queue.length; i++) {
      const type = this.queue.typeAt(i);
      if (type === F.CopyDone || type === F.CopyFail) return i;
    }
    return -1;
  }

  #popThroughSync(): void {
    const sync = this.queue.indexOf(F.Sync);
    const count = sync < 0 ? this.queue.length : sync + 1;
    for (let i = 0; i < count; i++) this.queue.pop();
  }

  #dropCopyMarks(): void {
    const { queue } = this;
    while (queue.headType === F.CopyDone || queue.headType === F.CopyFail) queue.pop();
  }
}
