import type { RunWriter } from './run-writer.ts';

/** {@link RequestFilter.pass}: earlier requests have to be answered first. */
export const NEEDS_ANSWERS = -1;
/** {@link RequestFilter.pass}: what the client sends behind the message has to be seen first, as far as it isn't there. */
export const NEEDS_MORE = -2;

/**
 * Acts on requests that name prepared statements: what a server is sent in their place. It counts by itself what
 * it sends, in the target's tracker. Bytes are borrowed until a call returns. Throws ProtocolViolation on a broken
 * message.
 */
export interface RequestFilter {
  /**
   * How many bytes of a body of `bodyBytes` the filter has to see before anything of the message is sent;
   * `chunk[body, end)` is what is there. 0: the message passes as it is.
   */
  look(type: number, chunk: Buffer, body: number, end: number, bodyBytes: number): number;
  /**
   * The answer to a request that needs no server, at a point where nothing is owed; null: it needs one. What
   * {@link look} asked for is there.
   */
  answerAlone(type: number, chunk: Buffer, body: number, end: number): Buffer | null;
  /**
   * The message, with a server linked; what {@link look} asked for is there. Writes to `out` what goes to the
   * server. Gives the position from which on the body passes as it is, or that nothing of it was written:
   * {@link NEEDS_ANSWERS}, {@link NEEDS_MORE}.
   */
  pass(type: number, chunk: Buffer, body: number, end: number, bodyBytes: number, out: RunWriter): number;
}
