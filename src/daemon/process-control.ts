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
import { ConfigError } from '../config/config-error.ts';
import { setSetting } from '../config/set.ts';
import type { Logger } from '../base/log.ts';
import { ThreadGone } from './correspondence.ts';
import { mergedSnapshot, type OwnSnapshots } from './merged-snapshots.ts';

/** What commands need of a process with several threads. */
export interface ProcessHooks {
  readonly log: Logger;
  config(): Config;
  /** What each thread that serves clients says to a command. Rejects with ThreadGone where one dies first. */
  command(request: ControlRequest, signal: AbortSignal): Promise<ControlReply>[];
  /** What each of them has of this kind; as above. */
  snapshots<K extends SnapshotKind>(kind: K): Promise<Snapshots[K]>[];
  /** See {@link OwnSnapshots}. */
  own(): OwnSnapshots;
  /** Server connections of a database (null: all) that count for limits, wherever they are. */
  serverCount(database: string | null): number;
  /** PAUSE of the database (null: of all) is in force. */
  isPaused(database: string | null): boolean;
  /** Reads the configuration file again and puts it in force everywhere; throws ConfigError and changes nothing. */
  reload(): void;
  /** Puts a configuration in force that SET of `key` has made; what there is to say about it, or null. */
  set(config: Config, key: string): string | null;
  /** A graceful shutdown begins, or is made to wait for servers alone; the workers hear of it next. */
  shutdownBegins(mode: Exclude<ShutdownMode, 'immediate'>): void;
  /** The process is to end now. */
  exit(): void;
}

/** How often PAUSE looks whether the last server connection is gone. */
const DRAIN_POLL_MS = 5;

/** Carries out commands on all threads as if there were one. */
export class ProcessControl implements Control {
  readonly #hooks: ProcessHooks;

  constructor(hooks: ProcessHooks) {
    this.#hooks = hooks;
  }

  async request(request: ControlRequest, signal: AbortSignal): Promise<ControlReply> {
    switch (request.kind) {
      case 'reload':
        return this.#reload();
      case 'set':
        return this.#set(request.key, request.value);
      case 'shutdown':
        if (request.mode === 'immediate') {
          this.#hooks.exit();
          return controlOk;
        }
        this.#hooks.shutdownBegins(request.mode);
    }
    const reply = together(await ofTheLiving(this.#hooks.command(request, signal)), request.kind);
    return reply.ok && request.kind === 'pause' ? this.#drained(request.database, reply, signal) : reply;
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

  #reload(): ControlReply {
    try {
      this.#hooks.reload();
      return controlOk;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      this.#hooks.log.log('ERROR', error.message);
      this.#hooks.log.log('WARNING', 'config file loading failed');
      return controlFailure.reloadFailed(error.message);
    }
  }

  #set(key: string, value: string): ControlReply {
    const result = setSetting(this.#hooks.config(), key, value);
    if (!result.ok) return controlFailure.setFailed(result.reason);
    return { ok: true, notice: this.#hooks.set(result.config, key) ?? result.notice };
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
const BY_ANY: ReadonlySet<ControlRequest['kind']> = new Set(['killClient', 'enable', 'resume']);

/** One reply for all threads'. */
function together(replies: readonly ControlReply[], kind: ControlRequest['kind']): ControlReply {
  const failures = replies.filter((reply) => !reply.ok);
  if (failures.length === 0 || (BY_ANY.has(kind) && failures.length < replies.length)) {
    return replies.find((reply) => reply.ok) ?? controlOk;
  }
  // Who knows the database knows best what is wrong with it.
  return failures.find(({ error }) => !error.startsWith('no such database')) ?? (failures[0] as ControlReply);
}
