/**
 * The configuration as everything above sees it: typed, checked, immutable, replaced as a whole by RELOAD and
 * by `SET`. This folder knows texts and files; it must not know pools or connections.
 */
import type { SourcePosition } from './config-error.ts';
import type { DatabaseEntry } from './databases.ts';
import type { LoginRules } from './hba-source.ts';
import type { PeerEntry } from './peers.ts';
import type { OwnSettings, Settings, SettingTexts } from './settings.ts';
import type { UserEntry } from './users.ts';

/**
 * One loaded configuration; plain data that may be cloned to another thread. Holds passwords: never log it.
 * `userlist` maps users to secret texts; `warnings` are lines for the log, in order, without level.
 */
export interface Config {
  /** The file that was read. The next RELOAD reads `settings.conffile`. */
  readonly path: string;
  /** Of that one and those that it includes, the files that passwords stand in. */
  readonly passwordFiles: readonly string[];
  readonly settings: Settings & { readonly conffile: string };
  readonly own: OwnSettings;
  readonly texts: SettingTexts;
  readonly databases: ReadonlyMap<string, DatabaseEntry>;
  /** The text of the entry `*`, parsed only when it is needed; null without one. */
  readonly autoDatabase: string | null;
  readonly autoDatabaseAt: SourcePosition | null;
  readonly users: ReadonlyMap<string, UserEntry>;
  readonly peers: ReadonlyMap<number, PeerEntry>;
  readonly userlist: ReadonlyMap<string, string>;
  /** Which `auth_file` `userlist` came from and its `fileIdentity` then; null when none was read. */
  readonly userlistSource: { readonly path: string; readonly identity: string } | null;
  /** What logins go by beside `auth_type`. */
  readonly login: LoginRules;
  readonly warnings: readonly string[];
}
