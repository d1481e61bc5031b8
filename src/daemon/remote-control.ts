import type { Control, ControlReply, ControlRequest } from '../admin/control.ts';
import type { SnapshotKind, Snapshots } from '../admin/snapshot.ts';
import type { WorkerEnd } from './worker-messages.ts';

/** The whole process, as a worker has it controlled: by the main thread. */
export class RemoteControl implements Control {
  readonly #other: WorkerEnd;

  constructor(other: WorkerEnd) {
    this.#other = other;
  }

  request(request: ControlRequest, signal: AbortSignal): Promise<ControlReply> {
    return this.#other.ask({ kind: 'command', request }, signal) as Promise<ControlReply>;
  }

  snapshot<K extends SnapshotKind>(kind: K): Promise<Snapshots[K]> {
    return this.#other.ask({ kind: 'snapshot', of: kind }) as Promise<Snapshots[K]>;
  }
}
