import type { RunAs } from './children.ts';
import type { Target } from './load.ts';
import type { Program } from './programs.ts';
import type { Door } from './workloads.ts';

/** What a pooler is set up for: the same for all of them. */
export interface PoolerSetup {
  /** PostgreSQL, which lets the pooler in by trust. */
  readonly server: Target;
  readonly listenPort: number;
  readonly door: Door;
  /** Whom clients log in as, and the pooler for them. */
  readonly role: string;
  /** The role's SCRAM secret, as PostgreSQL keeps it, and the password that it is made from. */
  readonly secret: string;
  readonly password: string;
  readonly poolSize: number;
  /** Clients at a time. */
  readonly maxClients: number;
  /** For the door `tls`. */
  readonly certFile: string;
  readonly keyFile: string;
  /** Of its own: for its files, and for whatever else it leaves behind. */
  readonly folder: string;
}

/** A pooler's files by name, and its arguments. */
export interface PoolerFiles {
  /** In its folder. */
  readonly files: Readonly<Record<string, string>>;
  readonly args: readonly string[];
}

/** How a pooler is started. */
export interface PoolerCommand {
  readonly program: Program;
  /** Arguments before those of {@link PoolerFiles}. */
  readonly args: readonly string[];
  readonly runAs: RunAs;
  readonly env: Readonly<Record<string, string>>;
}

/** A pooler that the benchmark knows. */
export interface Pooler {
  /** What kind of configuration it has, in a line for the result. */
  readonly facts: string;
  /** It shares `poolSize` server connections among its clients: its role on PostgreSQL may have no more. */
  readonly sharesServers: boolean;
  /** Errors: throws with the reason why it isn't there. */
  find(): PoolerCommand;
  configure(setup: PoolerSetup): PoolerFiles;
}
