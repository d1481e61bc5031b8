import type { ShutdownState } from './context.ts';
import { AT_START } from './standing.ts';
import type { Standing, WorkerCommand } from './worker-messages.ts';

/** A command as all workers get it. */
export interface NumberedCommand {
  readonly number: number;
  readonly era: number;
  readonly request: WorkerCommand;
}

/** The commands that workers have been given, and what those have brought about. */
export class CommandLedger {
  #last = 0;
  /** Of these no worker has said yet what they have brought about. */
  #unconfirmed: NumberedCommand[] = [];
  #standing: Standing = AT_START;

  /** As workers have said. */
  get standing(): Standing {
    return this.#standing;
  }

  /** What a worker that begins with {@link standing} does not know of. */
  get unconfirmed(): readonly NumberedCommand[] {
    return this.#unconfirmed;
  }

  /** PAUSE of the database (null: of all) holds, or will in whichever worker comes next. */
  isPaused(database: string | null): boolean {
    for (const { request } of this.#unconfirmed.toReversed()) {
      if (request.kind !== 'pause' && request.kind !== 'resume') continue;
      if (request.database === database) return request.kind === 'pause';
    }
    const { isPaused, pausedDatabases } = this.#standing;
    return database === null ? isPaused : pausedDatabases.includes(database);
  }

  /** The same of SUSPEND. */
  get isSuspended(): boolean {
    let { isSuspended, attempt } = this.#standing;
    for (const { request } of this.#unconfirmed) {
      if (request.kind === 'suspend') {
        isSuspended = true;
        attempt = request.attempt;
      } else if (request.kind === 'end suspension') {
        isSuspended &&= request.attempt !== attempt;
      } else if (request.kind === 'resume' && request.database === null) isSuspended = false;
    }
    return isSuspended;
  }

  /** The graceful shutdown that is on its way, or will be; servers are the first to be waited for. */
  get shutdown(): ShutdownState {
    const asked = this.#unconfirmed.map(({ request }) => (request.kind === 'shutdown' ? request.mode : 'no'));
    const modes = [this.#standing.shutdown, ...asked];
    if (modes.includes('wait_for_servers')) return 'wait_for_servers';
    return modes.includes('wait_for_clients') ? 'wait_for_clients' : 'no';
  }

  add(request: WorkerCommand, era: number): NumberedCommand {
    const command = { number: ++this.#last, era, request };
    this.#unconfirmed.push(command);
    return command;
  }

  /** A worker says where it is. */
  confirmed(standing: Standing): void {
    if (standing.command < this.#standing.command) return;
    this.#standing = standing;
    this.#unconfirmed = this.#unconfirmed.filter(({ number }) => number > standing.command);
  }
}
