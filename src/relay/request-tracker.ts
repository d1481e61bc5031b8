import { BackendType as B, FrontendType as F, TxStatus } from '../wire/codes.ts';
import { copyCompleted, copyFailed, endsCopy, isCopyMark, tellsNothing } from './copy-marks.ts';
import { LostRequests } from './lost-requests.ts';
import { lacksRoom } from './room.ts';
import { OutstandingQueue, ReplyAction, type RequestNote } from './outstanding.ts';

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
 * CopyData, CopyDone and CopyFail have no answer of their own. They stand in the queue as marks (one for any number
 * of CopyData), for a Sync that was sent before them is swallowed by a server in COPY IN and never answered.
 * Source: manual, `protocol-flow` (Extended Query, COPY Operations).
 */
export class RequestTracker {
  readonly queue = new OutstandingQueue();
  readonly lost = new LostRequests();
  /** Last status byte of ReadyForQuery. */
  txStatus: number = TxStatus.Idle;
  /** The server is in COPY IN (or COPY BOTH) mode. */
  isCopyIn = false;
  /** A COPY BOTH has begun, and no ReadyForQuery has come since. */
  isStreaming = false;
  /**
   * After an error in COPY IN nobody can tell whether an earlier Sync was read during the COPY (no answer) or
   * after it (one more ReadyForQuery): the connection must be probed before it serves another client.
   */
  isUnsure = false;
  /** With `isUnsure`: nor is one of the two the likely one. */
  isAmbiguous = false;
  /** With `isUnsure`, requests were sent that change what is prepared: what the server has is not known any more. */
  isMistaken = false;
  /**
   * Number of the stretch of requests that is being sent, up to a Sync: one failing in the extended protocol skips
   * the rest of its stretch.
   */
  segment = 0;
  /** What hung on the request that the last ErrorResponse was the answer to. */
  failedNote: RequestNote | null = null;
  /** What hung on the last Describe of ours that was answered, until its rows are read. */
  describedNote: RequestNote | null = null;
  /** With action Rewrite: what replaces the answer message just passed to {@link received}. */
  replacement: Buffer | null = null;
  /** The client waits for room: see {@link takeAnswered}. */
  waitsForRoom = false;
  #skipsToSync = false;
  /**
   * Requests were sent behind the last ReadyForQuery, so its status says nothing any more: a server that has
   * answered Parse, Bind and Execute but seen no Sync is in a transaction of which `txStatus` doesn't know.
   */
  #awaitsReady = false;
  #isStretchOpen = false;
  #hasAnswered = false;
  /** And then a Query: PostgreSQL is in a transaction that looks open and is not. */
  isMixed = false;
  /** The Query or FunctionCall at the head has had an answer: its ReadyForQuery may come. */
  #isHeadAnswered = false;

  /** A COPY BOTH has ended, by CommandComplete or an error, and ReadyForQuery has not come yet. */
  get isStreamOver(): boolean {
    return this.isStreaming && !this.isCopyIn;
  }

  /** Between transactions, nothing owed. */
  get isClean(): boolean {
    return this.txStatus === TxStatus.Idle && this.isQuiet;
  }

  /** No answer is owed, and the last one was ReadyForQuery. */
  get isQuiet(): boolean {
    this.#dropCopyMarks();
    return this.queue.length === 0 && !this.#awaitsReady;
  }

  /**
   * The count is unsure, and may be wrong for good, which a probe of a server that has been silent for a while shows;
   * neither a COPY nor an unfinished stretch is in its way, nor a Sync that the client has still to send.
   */
  get mayBeStuck(): boolean {
    if (this.isCopyIn || this.#isStretchOpen || this.isSkipped) return false;
    return this.isUnsure && this.txStatus === TxStatus.Idle;
  }

  /** A client message of `type` goes to the server. */
  sent(
    type: number,
    action: ReplyAction = ReplyAction.Forward,
    payload: Buffer | null = null,
    note: RequestNote | null = null,
  ): void {
    if (note !== null && this.isUnsure) this.isMistaken = true;
    const isSkipped = this.isSkipped;
    if (isSkipped) {
      note?.end();
      // It would go with the Sync; where that may have come already, it is perhaps not skipped.
      if (type !== F.Sync && !this.isUnsure) return;
    }
    const hanging = isSkipped ? null : note;
    switch (type) {
      case F.Sync:
        this.segment++;
        this.#isStretchOpen = false;
        this.lost.readies++;
        this.#awaitsReady = true;
        if (this.isCopyIn && tellsNothing(this.queue, type)) return;
        this.queue.push(type, action, payload, hanging);
        return;
      case F.Query:
      case F.FunctionCall:
        if (this.#isStretchOpen) this.isMixed = true;
        this.lost.readies++;
        this.queue.push(type, action, payload, hanging);
        this.#awaitsReady = true;
        return;
      case F.Parse:
      case F.Bind:
      case F.Describe:
      case F.Execute:
      case F.Close:
        this.queue.push(type, action, payload, hanging);
        if (action === ReplyAction.Synthesize) return;
        this.#awaitsReady = true;
        this.#isStretchOpen = true;
        return;
      case F.CopyData:
        // Only where something stands ahead of it that it may make certain.
        if (this.queue.lastType === F.CopyData || this.queue.length === 0) return;
        if (!this.isCopyIn || !tellsNothing(this.queue, type)) this.queue.push(type);
        return;
      case F.CopyDone:
      case F.CopyFail:
        // Late ones, after the COPY's error, are dropped when they come to the head: they have no COPY to end.
        this.queue.push(type);
        return;
    }
  }

  /**
   * A request was answered by us that opens a transaction on a server as a Parse does: until ReadyForQuery the
   * connection is not at rest.
   */
  opened(): void {
    this.#awaitsReady = true;
  }

  /** Nothing is owed, so that an answer of ours can go out at once. */
  get owesNothing(): boolean {
    this.#dropCopyMarks();
    return this.queue.length === 0;
  }

  /**
   * What transaction status requests sent now will meet is known: no Sync, Query or the like is under way that
   * could change it, and the transaction has not failed. Nor was a Query sent without a Sync ahead of it: PostgreSQL
   * 18 loses its transaction where nothing but a Sync follows.
   */
  get isSurelyUsable(): boolean {
    if (this.txStatus === TxStatus.Failed || this.isMixed) return false;
    return this.queue.syncs === 0 && this.queue.queries === 0;
  }

  /**
   * Whether it cannot be told yet which requests sent now will be done: a COPY IN may be under way whose end was
   * sent, and how it ends decides which Syncs are answered.
   */
  get isUncertain(): boolean {
    if (this.isSkipped) return false;
    this.#dropCopyMarks();
    return this.queue.copyEnds > 0;
  }

  /**
   * A COPY IN is under way that the client has not ended yet: nothing more is answered before it does. Not where another
   * request was sent meanwhile, for which PostgreSQL ends it.
   */
  get awaitsCopyEnd(): boolean {
    return this.isCopyIn && this.queue.copyEnds === 0 && !endsCopy(this.queue);
  }

  /** Nothing is owed, nothing was sent since the last ReadyForQuery, and that said that no transaction is open. */
  get isAtRest(): boolean {
    return this.owesNothing && !this.#isStretchOpen && this.txStatus === TxStatus.Idle && !this.isUnsure;
  }

  /** Whether, since this was asked last, a request was done or failed: what was not known before may be now. */
  takeAnswered(): boolean {
    if (!this.#hasAnswered || (this.waitsForRoom && lacksRoom(this))) return false;
    this.waitsForRoom = false;
    this.#hasAnswered = false;
    return true;
  }

  /** {@link describedNote}, whose rows are there now: what was not known before may be. */
  takeDescribed(): RequestNote | null {
    const note = this.describedNote;
    this.describedNote = null;
    this.#hasAnswered = true;
    return note;
  }

  /** Behind all requests sent comes ReadyForQuery that the client has asked for, unless a COPY IN begins that swallows it. */
  get areEnded(): boolean {
    return !this.#isStretchOpen && !this.lost.hasCopied;
  }

  /** Requests of the extended protocol were sent, and no Sync since. */
  get isStretchOpen(): boolean {
    return this.#isStretchOpen;
  }

  /** Requests sent now are skipped: an earlier one has failed, and no Sync was sent since. */
  get isSkipped(): boolean {
    return this.#skipsToSync && this.queue.syncs === 0;
  }

  /** A server message of `type` (not ReadyForQuery) has come: what to do with it. */
  received(type: number): ReplyAction {
    this.#dropCopyMarks();
    const { queue } = this;
    const isSwallowed = queue.headAction === ReplyAction.Swallow;
    switch (type) {
      case B.NotificationResponse:
        return ReplyAction.Forward;
      case B.ParameterStatus:
        // Before 14 each SET is reported at once: one of ours is undone before the client's next request. Behind its failure
        // comes what goes back with the client's transaction.
        return isSwallowed && queue.headType === F.Execute && !this.#skipsToSync
          ? ReplyAction.Swallow
          : ReplyAction.Forward;
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
        if (this.isCopyIn) copyCompleted(this.queue);
        this.lost.isCopyProbed = false;
        this.isCopyIn = false;
        return this.#complete(F.Execute);
      case B.EmptyQueryResponse:
      case B.PortalSuspended:
        return this.#complete(F.Execute);
      case B.FunctionCallResponse:
        this.#isHeadAnswered = true;
        break;
      case B.CopyInResponse:
        this.isCopyIn = true;
        this.lost.hasCopied = true;
        // Who waits for more of an answer waits for what only the COPY's end can bring.
        this.#hasAnswered = true;
        break;
      case B.CopyBothResponse:
        this.isCopyIn = true;
        this.isStreaming = true;
        this.lost.hasCopied = true;
        break;
      case B.ErrorResponse:
        return this.#failed();
    }
    return isSwallowed ? ReplyAction.Swallow : ReplyAction.Forward;
  }

  /** ReadyForQuery with `status` has come: what to do with it. */
  readyForQuery(status: number): ReplyAction {
    this.#hasAnswered = true;
    this.lost.ready();
    this.#dropCopyMarks();
    this.txStatus = status;
    this.isCopyIn = false;
    this.isStreaming = false;
    const type = this.queue.headType;
    let action: ReplyAction = ReplyAction.Forward;
    if (this.#skipsToSync) {
      this.#skipsToSync = false;
      action = this.lost.endSkipping(this.queue, this);
    } else if (type === F.Sync || this.#endsHead(type)) {
      action = this.queue.headAction as ReplyAction;
      this.queue.pop();
    } else {
      // Nobody asked for it. It answers a Sync that was taken for swallowed, and ends nothing that is owed.
      this.isUnsure = true;
      // With nothing owed the server is at rest, whatever it said unasked: the probe will show it. Not amid a stretch.
      if (this.queue.length === 0 && !this.#isStretchOpen) this.#awaitsReady = false;
      return ReplyAction.Forward;
    }
    this.#dropCopyMarks();
    this.#isHeadAnswered = false;
    // Not at the Sync: it may have been swallowed by a COPY.
    if (status === TxStatus.Idle && this.queue.length === 0) this.isMixed = false;
    // What is left may be answered without a further ReadyForQuery.
    this.#awaitsReady = this.queue.length > 0;
    if (!this.#awaitsReady && !this.isUnsure) this.lost.end();
    return action === ReplyAction.Swallow ? ReplyAction.Swallow : ReplyAction.Forward;
  }

  /** An entry whose answer is ours to give is at the head: its bytes, taken out of the queue; else null. */
  takeSynthesized(): Buffer | null {
    this.#dropCopyMarks();
    if (this.queue.headAction !== ReplyAction.Synthesize) return null;
    const bytes = this.queue.headPayload;
    this.queue.headNote?.step();
    this.queue.pop();
    return bytes;
  }

  /** A new client, a new count. Only on a clean connection. */
  reset(): void {
    this.queue.clear();
    this.lost.end();
    this.waitsForRoom = false;
    this.isCopyIn = false;
    this.isStreaming = false;
    this.isUnsure = false;
    this.isAmbiguous = false;
    this.isMistaken = false;
    this.#isStretchOpen = false;
    this.isMixed = false;
    this.replacement = null;
    this.failedNote = null;
    this.describedNote = null;
    this.#skipsToSync = false;
    this.#awaitsReady = false;
    this.#isHeadAnswered = false;
  }

  /** The answer that ends a request of `requestType`, if that is what stands at the head. */
  #complete(requestType: number): ReplyAction {
    const { queue } = this;
    this.#hasAnswered = true;
    const action = queue.headAction as ReplyAction;
    if (queue.headType === requestType || requestType === F.Execute) queue.headNote?.step();
    if (queue.headType !== requestType) {
      this.#isHeadAnswered = true;
      return action === ReplyAction.Swallow ? ReplyAction.Swallow : ReplyAction.Forward;
    }
    this.replacement = queue.headPayload;
    if (requestType === F.Describe && action === ReplyAction.Swallow) this.describedNote = queue.headNote;
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
    this.#hasAnswered = true;
    const head = queue.headType;
    this.failedNote = queue.headNote;
    if (this.isCopyIn && this.isUnsure) this.lost.copyFailed();
    if (this.isCopyIn) copyFailed(queue, this);
    this.isCopyIn = false;
    let action = queue.headAction;
    if (head === F.Query || head === F.FunctionCall) {
      // Each ends with its own ReadyForQuery.
      this.#isHeadAnswered = true;
    } else if (head !== 0) {
      const sync = queue.indexOf(F.Sync);
      queue.endNotes(sync < 0 ? queue.length : sync);
      // The failure of a request of ours is the client's, too, when the client's requests behind it are skipped. A server
      // that skips says nothing more but why it ends.
      if (action === ReplyAction.Swallow) {
        action = sync < 0 || this.#skipsToSync ? ReplyAction.Forward : queue.actionAt(sync);
      }
      this.#skipsToSync = true;
    }
    return action === ReplyAction.Swallow ? ReplyAction.Swallow : ReplyAction.Forward;
  }

  #dropCopyMarks(): void {
    if (isCopyMark(this.queue.headType)) this.lost.dropMarks(this.queue);
  }
}
