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
  /**
   * Requests were sent behind the last ReadyForQuery, so its status says nothing any more: a server that has
   * answered Parse, Bind and Execute but seen no Sync is in a transaction of which `txStatus` doesn't know.
   */
  #awaitsReady = false;
  /** The Query or FunctionCall at the head has had an answer: its ReadyForQuery may come. */
  #isHeadAnswered = false;

  /** Between transactions, nothing owed. */
  get isClean(): boolean {
    return this.txStatus === TxStatus.Idle && this.isQuiet;
  }

  /** No answer is owed, and the last one was ReadyForQuery. */
  get isQuiet(): boolean {
    this.#dropCopyMarks();
    return this.queue.length === 0 && !this.#awaitsReady;
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
        if (action !== ReplyAction.Synthesize) this.#awaitsReady = true;
        return;
      case F.CopyDone:
      case F.CopyFail:
        // Late ones, after the COPY's error, are dropped when they come to the head: they have no COPY to end.
        this.queue.push(type);
        return;
    }
  }

  /** A server message of `type` (not ReadyForQuery) has come: what to do with it. */
  received(type: number): ReplyAction {
    this.#dropCopyMarks();
    const { queue } = this;
    const isSwallowed = queue.headAction === ReplyAction.Swallow;
    switch (type) {
      case B.NotificationResponse:
      case B.ParameterStatus:
        return ReplyAction.Forward;
      case B.NoticeResponse:
        return isSwallowed ? ReplyAction.Swallow : ReplyAction.Forward;
    }
    // With nothing owed, the server is at a request that was not counted: not at rest before ReadyForQuery.
    if (queue.length === 0) this.#awaitsReady = true;
    switch (type) {
      case B.ParseComplete:
        return this.#complete(F.Parse);
      case B.BindComplete:
        return this.#complete(F.Bind);
      case B.CloseComplete:
        return this.#complete(F.Close);
      case B.RowDescription:
      case B.NoData:
        return this.#complete(F.Describe);
      case B.CommandComplete:
        if (this.isCopyIn) this.#copyCompleted();
        return this.#complete(F.Execute);
      case B.EmptyQueryResponse:
      case B.PortalSuspended:
        return this.#complete(F.Execute);
      case B.FunctionCallResponse:
        this.#isHeadAnswered = true;
        break;
      case B.CopyInResponse:
      case B.CopyBothResponse:
        this.isCopyIn = true;
        break;
      case B.ErrorResponse:
        return this.#failed();
    }
    return isSwallowed ? ReplyAction.Swallow : ReplyAction.Forward;
  }

  /** ReadyForQuery with `status` has come: what to do with it. */
  readyForQuery(status: number): ReplyAction {
    this.#dropCopyMarks();
    this.txStatus = status;
    this.isCopyIn = false;
    const type = this.queue.headType;
    let action: ReplyAction = ReplyAction.Forward;
    if (this.#skipsToSync) {
      action = this.#endSkipping();
    } else if (type === F.Sync || this.#endsHead(type)) {
      action = this.queue.headAction as ReplyAction;
      this.queue.pop();
    } else {
      // Nobody asked for it. It answers a Sync that was taken for swallowed, and ends nothing that is owed.
      this.isUnsure = true;
      // With nothing owed the server is at rest, whatever it said unasked: the probe will show it.
      if (this.queue.length === 0) this.#awaitsReady = false;
      return ReplyAction.Forward;
    }
    this.#dropCopyMarks();
    this.#isHeadAnswered = false;
    // What is left may be answered without a further ReadyForQuery.
    this.#awaitsReady = this.queue.length > 0;
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
    this.replacement = null;
    this.#skipsToSync = false;
    this.#awaitsReady = false;
    this.#isHeadAnswered = false;
  }

  /** The answer that ends a request of `requestType`, if that is what stands at the head. */
  #complete(requestType: number): ReplyAction {
    const { queue } = this;
    const action = queue.headAction as ReplyAction;
    if (queue.headType !== requestType) {
      this.#isHeadAnswered = true;
      return action === ReplyAction.Swallow ? ReplyAction.Swallow : ReplyAction.Forward;
    }
    this.replacement = queue.headPayload;
    this.#isHeadAnswered = false;
    queue.pop();
    return action;
  }

  /**
   * ReadyForQuery ends the Query or FunctionCall at the head. When ReadyForQuery may also be a stray one, only
   * after an answer: each of the two has at least one before it.
   */
  #endsHead(type: number): boolean {
    return (type === F.Query || type === F.FunctionCall) && (this.#isHeadAnswered || !this.isUnsure);
  }

  /** ErrorResponse: what becomes of the requests behind it, and of the message. */
  #failed(): ReplyAction {
    const { queue } = this;
    const head = queue.headType;
    if (this.isCopyIn) this.#copyFailed();
    let action = queue.headAction;
    if (head === F.Query || head === F.FunctionCall) {
      // Each ends with its own ReadyForQuery.
      this.#isHeadAnswered = true;
    } else if (head !== 0) {
      this.#skipsToSync = true;
      // The failure of a request of ours is the client's, too, when the client's requests behind it are skipped.
      const sync = queue.indexOf(F.Sync);
      action = sync < 0 ? ReplyAction.Forward : queue.actionAt(sync);
    }
    return action === ReplyAction.Swallow ? ReplyAction.Swallow : ReplyAction.Forward;
  }

  /** All that was sent before the CopyDone was read during the COPY; a Sync among it has no answer. */
  #copyCompleted(): void {
    this.isCopyIn = false;
    for (let i = 1; i < this.queue.length; i++) {
      if (!isCopyMark(this.queue.typeAt(i))) continue;
      this.queue.remove(1, i);
      return;
    }
  }

  /**
   * The COPY has failed at an unknown place of what was sent. Syncs up to its CopyDone or CopyFail were swallowed,
   * most likely. Any other request cannot have been read during the COPY (that would have ended the connection):
   * it and all behind it are answered.
   */
  #copyFailed(): void {
    const { queue } = this;
    this.isCopyIn = false;
    let end = 1;
    while (queue.length > end && queue.typeAt(end) === F.Sync) end++;
    if (end > 1) this.isUnsure = true;
    if (queue.length > end && isCopyMark(queue.typeAt(end))) end++;
    if (end > 1) queue.remove(1, end - 1);
  }

  /** The server has stopped skipping: takes out what it skipped. Gives the action of the Sync that ended it. */
  #endSkipping(): ReplyAction {
    const { queue } = this;
    this.#skipsToSync = false;
    const sync = queue.indexOf(F.Sync);
    if (sync < 0) {
      // The Sync was one that we took for swallowed: what is in the queue came behind it and was not skipped.
      this.isUnsure = true;
      if (queue.length > 0) queue.pop();
      return ReplyAction.Forward;
    }
    const action = queue.actionAt(sync) as ReplyAction;
    for (let i = 0; i <= sync; i++) queue.pop();
    return action;
  }

  #dropCopyMarks(): void {
    while (isCopyMark(this.queue.headType)) this.queue.pop();
  }
}

function isCopyMark(type: number): boolean {
  return type === F.CopyDone || type === F.CopyFail;
}
