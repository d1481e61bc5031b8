import type { Control, ControlReply, ControlRequest } from '../admin/control.ts';
import type { SnapshotKind, Snapshots } from '../admin/snapshot.ts';
import type { MainEnd, WorkerEnd } from './worker-messages.ts';

/** What another thread controls. Its promises reject with ThreadGone when that thread has ended. */
export class RemoteControl implements Control {
  readonly #other: MainEnd | WorkerEnd;

  constructor(other: MainEnd | WorkerEnd) {
    this.#other = other;
  }

  request(request: ControlRequest, signal: AbortSignal): Promise<ControlReply> {
    return this.#other.ask({ kind: 'command', request }, signal) as Promise<ControlReply>;
  }

  snapshot<K extends SnapshotKind>(kind: K): Promise<Snapshots[K]> {
    return this.#other.ask({ kind: 'snapshot', of: kind }) as Promise<Snapshots[K]>;
  }
}
