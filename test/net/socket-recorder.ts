import type { SocketOwner } from '../../src/net/raw-socket.ts';

/** Keeps what a raw socket's owner hears. */
export class SocketRecorder implements SocketOwner {
  /** `ended`, `drained`, `closed`, in order. */
  readonly log: string[] = [];
  text = '';
  error: NodeJS.ErrnoException | null = null;
  /** Called behind each. */
  on: (what: 'bytes' | 'ended' | 'drained' | 'closed') => void = () => {};

  socketBytes(chunk: Buffer, end: number): void {
    this.text += chunk.toString('latin1', 0, end);
    this.on('bytes');
  }

  socketEnded(): void {
    this.log.push('ended');
    this.on('ended');
  }

  socketDrained(): void {
    this.log.push('drained');
    this.on('drained');
  }

  socketClosed(error: Error | null): void {
    this.log.push('closed');
    this.error = error;
    this.on('closed');
  }
}
