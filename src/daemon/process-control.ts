import { setTimeout as delay } from 'node:timers/promises';
import {
  type Control,
  type ControlReply,
  type ControlRequest,
  controlFailure,
  controlOk,
  type ShutdownMode,
} from '../admin/control.ts';
import type { SnapshotKind, Snapshots } from '../admin/snapshot.ts';
import type { Config } from '../config/config.ts';
import type { Logger } from '../base/log.ts';
import { type ConfigHooks, commandReload, commandSet } from './config-commands.ts';
import { ThreadGone } from './correspondence.ts';
import { Suspender } from './suspender.ts';
import { mergedSnapshot, type OwnSnapshots } from './merged-snapshots.ts';
import type { WorkerCommand } from './worker-messages.ts';

/** What commands need of a process with several threads. */
export interface ProcessHooks extends ConfigHooks {
  readonly log: Logger;
  config(): Config;
  /** What each thread that serves clients says to a command. Rejects with ThreadGone where one dies first. */
  command(request: WorkerCommand, signal: AbortSignal): Promise<ControlReply>[];
  /** What each of them has of this kind; as above. */
  snapshots<K extends SnapshotKind>(kind: K): Promise<Snapshots[K]>[];
  /** See {@link OwnSnapshots}. */
  own(): OwnSnapshots;
  /** Of what the threads have said last. */
  isSuspended(): boolean;
  /** See `Workforce`. */
  pausedInPart(): readonly string[];
  /** Resolves when each has heard what it was told and asked, and has said what became of it at once. */
  heard(): Promise<unknown>;
  /** Server connections of a database (null: all) that count for limits, wherever they are. */
  serverCount(database: string | null): number;
  /** PAUSE of the database (null: of all) is in force. */
  isPaused(database: string | null): boolean;
  /** A graceful shutdown begins, or is made to wait for servers alone; the workers hear of it next. */
  shutdownBegins(mode: Exclude<ShutdownMode, 'immediate'>): void;
  /** The process is to end now. */
  exit(): void;
}

/** How often PAUSE looks whether the last server connection is gone. */
const DRAIN_POLL_MS = 5;

/** Of what is carried out whoever has left. */
const NEVER = new AbortController().signal;

/** Carries out commands on all threads as if there were one. */
export class ProcessControl implements Control {
  readonly #hooks: ProcessHooks;
  readonly #suspender: Suspender;

  constructor(hooks: ProcessHooks) {
    this.#hooks = hooks;
    this.#suspender = new Suspender({
      ...hooks,
      resume: () => this.request({ kind: 'resume', database: null }, NEVER),
      suspend: (attempt) => this.#askAll({ kind: 'suspend', attempt }, NEVER),
      endSuspension: (attempt) => this.#askAll({ kind: 'end suspension', attempt }, NEVER),
    });
  }

  async request(request: ControlRequest, signal: AbortSignal): Promise<ControlReply> {
    switch (request.kind) {
      case 'reload':
        return commandReload(this.#hooks, this.#hooks.log);
      case 'set':
        return commandSet(this.#hooks, this.#hooks.config(), request);
      case 'shutdown':
        if (request.mode === 'immediate') {
          this.#hooks.exit();
          return controlOk;
        }
        this.#suspender.ended();
        this.#hooks.shutdownBegins(request.mode);
        break;
      case 'suspend':
        // The threads' own wait for the console's end would be news to nobody else.
        return this.#suspender.suspend(signal);
      case 'resume':
        if (request.database === null) this.#suspender.ended();
    }
    const reply = await this.#askAll(request, signal);
    if (reply.ok && request.kind === 'kill' && request.database === null) return this.#killTheRest(reply);
    return reply.ok && request.kind === 'pause' ? this.#drained(request.database, reply, signal) : reply;
  }

  /** A database made from `*` is for all threads what it is for those that have it. */
  async #killTheRest(reply: ControlReply): Promise<ControlReply> {
    const databases = this.#hooks.pausedInPart();
    return databases.length === 0 ? reply : this.#askAll({ kind: 'kill too', databases }, NEVER);
  }

  async #askAll(request: WorkerCommand, signal: AbortSignal): Promise<ControlReply> {
    return together(await ofTheLiving(this.#hooks.command(request, signal)), request.kind);
  }

  snapshot<K extends SnapshotKind>(kind: K): Promise<Snapshots[K]> {
    return mergedSnapshot(
      kind,
      (which) => ofTheLiving(this.#hooks.snapshots(which)),
      () => this.#hooks.own(),
    );
  }

  /** What is on its way between threads, or a dead one has left, stands in none of their lists: it is waited for here. */
  async #drained(database: string | null, reply: ControlReply, signal: AbortSignal): Promise<ControlReply> {
    while (this.#hooks.serverCount(database) > 0 && !signal.aborted) {
      if (!this.#hooks.isPaused(database)) return controlFailure.canceled();
      await delay(DRAIN_POLL_MS);
    }
    return reply;
  }
}

/** The answers of those that are still there: what a thread had that has died meanwhile is gone. */
async function ofTheLiving<T>(asked: readonly Promise<T>[]): Promise<T[]> {
  return (await Promise.allSettled(asked)).flatMap((one) => {
    if (one.status === 'fulfilled') return [one.value];
    if (one.reason instanceof ThreadGone) return [];
    throw one.reason;
  });
}

/** What one thread alone can do: the others know nothing of the client, or of a database made from `*`. */
const BY_ANY: ReadonlySet<WorkerCommand['kind']> = new Set(['killClient', 'enable', 'resume']);

/** One reply for all threads'. */
function together(replies: readonly ControlReply[], kind: WorkerCommand['kind']): ControlReply {
  const failures = replies.filter((reply) => !reply.ok);
  if (failures.length === 0 || (BY_ANY.has(kind) && failures.length < replies.length)) {
    return replies.find((reply) => reply.ok) ?? controlOk;
  }
  // Who knows the database knows best what is wrong with it.
  return failures.find(({ error }) => !error.startsWith('no such database')) ?? (failures[0] as ControlReply);
}
