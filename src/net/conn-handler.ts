import type { IpcNetConnectOpts, TcpNetConnectOpts } from 'node:net';

/**
 * What a connection's owner hears. Calls come one at a time, never from inside a call to `Conn.write`.
 */
export interface ConnHandler {
  /**
   * `chunk[0, end)` just arrived. The bytes are borrowed until the callback returns: copy what must outlive it,
   * and never look behind `end`, where other connections' bytes are.
   */
  onBytes(chunk: Buffer, end: number): void;
  /** The peer finished sending (FIN). Writing is still possible. */
  onEnd(): void;
  /** What was buffered for the peer is below the high-water mark again. */
  onDrain(): void;
  /** The socket is gone; the last call. `error` is the reason when it was not an orderly close. */
  onClosed(error: Error | null): void;
  /** One of the calls above threw, which is a bug: log it. The connection is cut; the process goes on. */
  onFault(error: unknown): void;
}

/** What `Conn.connect` takes. */
export type ConnectOptions = TcpNetConnectOpts | IpcNetConnectOpts;
