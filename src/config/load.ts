import type { AuthFiles } from './auth-lines.ts';
import type { Config } from './config.ts';
import { ConfigError, type SourcePosition } from './config-error.ts';
import { type DatabaseEntry, parseDatabase } from './databases.ts';
import { loadLoginRules } from './hba-source.ts';
import { type IniStatement, type ReadFile, readIni } from './ini-lines.ts';
import { type PeerEntry, parsePeer } from './peers.ts';
import { checkSetting, defaultTexts, isWithoutEffect, typedSettings } from './settings.ts';
import { ownSettingsTable, settingsTable } from './settings-table.ts';
import { formatSetting } from './setting-values.ts';
import { loadUserlist } from './userlist-source.ts';
import { parseUser, type UserEntry } from './users.ts';

type Assignment = Extract<IniStatement, { readonly key: string }>;

const sections = ['pgbouncer', 'databases', 'users', 'peers', 'pgweir'];

/**
 * Reads a configuration, all or nothing: it throws {@link ConfigError} and leaves `previous` whole, or returns
 * a complete new one. Synchronous: it runs at start and at RELOAD only. With `previous` (RELOAD), settings read
 * at start only keep its value, and so do settings without a default that the file no longer has; everything
 * else that the file leaves out gets its default again, which undoes `SET`. `readFile` and `authFiles` stand in for the
 * files of the configuration and for those of HBA rules and ident maps.
 * Source: PgBouncer, configuration file and RELOAD.
 */
export function loadConfig(
  path: string,
  previous: Config | null,
  readFile?: ReadFile,
  authFiles?: AuthFiles,
): Config {
  const loader = new Loader(previous, authFiles);
  for (const statement of readIni(path, readFile)) loader.take(statement);
  return loader.finish(path);
}

class Loader {
  readonly #previous: Config | null;
  readonly #authFiles: AuthFiles | undefined;
  readonly #warnings: string[] = [];
  readonly #passwordFiles = new Set<string>();
  readonly #given = new Map<string, Assignment>();
  readonly #databases = new Map<string, DatabaseEntry>();
  readonly #users = new Map<string, UserEntry>();
  readonly #peers = new Map<number, PeerEntry>();
  readonly #seen = new Map<string, SourcePosition>();
  readonly #warn = (warning: string): void => void this.#warnings.push(warning);
  #auto: Assignment | null = null;
  #hasMainSection = false;

  constructor(previous: Config | null, authFiles: AuthFiles | undefined) {
    this.#previous = previous;
    this.#authFiles = authFiles;
  }

  take(statement: IniStatement): void {
    if (statement.kind === 'section') this.#enter(statement.section, statement.at);
    else if (statement.kind === 'own' || statement.section === 'pgweir') this.#takeOwn(statement);
    else this.#takeEntry(statement);
  }

  #enter(section: string, at: SourcePosition): void {
    if (!sections.includes(section)) {
      const expected = '[pgbouncer], [databases], [users], [peers] or [pgweir]';
      throw new ConfigError(at, `[${section}]`, expected);
    }
    if (section === 'pgbouncer') this.#hasMainSection = true;
  }

  #takeOwn(statement: Assignment): void {
    if (!Object.hasOwn(ownSettingsTable, statement.key)) {
      throw new ConfigError(statement.at, statement.key, 'a setting of [pgweir]');
    }
    this.#remember('pgweir', statement);
    const row = ownSettingsTable[statement.key as keyof typeof ownSettingsTable];
    const parsed = checkSetting(statement.key, row, statement.value);
    if (!parsed.ok) throw new ConfigError(statement.at, statement.key, parsed.expected);
    this.#given.set(statement.key, statement);
  }

  #takeEntry(statement: Assignment): void {
    const { section, key, value, at } = statement;
    if (section === '') throw new ConfigError(at, key, 'a section such as [pgbouncer] before the first key');
    this.#remember(section, statement);
    if (section === 'pgbouncer') this.#takeSetting(statement);
    else if (section === 'users') this.#users.set(key, parseUser(key, value, at, this.#warn));
    else if (section === 'peers') {
      const peer = parsePeer(key, value, at, this.#warn);
      this.#peers.set(peer.id, peer);
    } else if (key === '*') this.#takeAuto(statement);
    else {
      const entry = parseDatabase(key, value, at, this.#warn);
      if ((entry.password ?? '') !== '') this.#passwordFiles.add(at.file);
      this.#databases.set(key, entry);
    }
  }

  #takeSetting(statement: Assignment): void {
    if (!Object.hasOwn(settingsTable, statement.key)) {
      throw new ConfigError(statement.at, statement.key, 'a setting of [pgbouncer]');
    }
    const row = settingsTable[statement.key as keyof typeof settingsTable];
    const parsed = checkSetting(statement.key, row, statement.value);
    if (!parsed.ok) throw new ConfigError(statement.at, statement.key, parsed.expected);
    this.#given.set(statement.key, statement);
  }

  #takeAuto(statement: Assignment): void {
    this.#auto = statement;
    if (/(^|\s)password\s*=/i.test(statement.value)) this.#passwordFiles.add(statement.at.file);
    try {
      // The name stands for any database; what matters is whether the text can ever work.
      parseDatabase('*', statement.value, statement.at, this.#warn);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      this.#warn(`${error.message}; until then there is "no such database"`);
    }
  }

  #remember(section: string, { key, at }: Assignment): void {
    const name = `[${section}] ${key}`;
    const before = this.#seen.get(name);
    if (before !== undefined) {
      const places = `${before.file}:${before.line} and ${at.file}:${at.line}`;
      this.#warn(`${name} is given twice (${places}), the later one counts`);
    }
    this.#seen.set(name, at);
  }

  finish(path: string): Config {
    if (!this.#hasMainSection) throw new ConfigError({ file: path, line: 0 }, '', 'a section [pgbouncer]');
    const texts = this.#texts(path);
    const { settings, own } = typedSettings(texts);
    this.#warnAboutMissingEffects();
    if (this.#peers.size > 0 && settings.peer_id === 0) {
      this.#warn('[peers] without peer_id: no cancel request is handed on');
    }
    const { userlist, userlistSource, warnings } = loadUserlist(settings, this.#previous, {
      at: this.#given.get('auth_file')?.at ?? { file: path, line: 0 },
    });
    const base = {
      settings: { ...settings, conffile: settings.conffile ?? path },
      databases: this.#databases,
      autoDatabase: this.#auto?.value ?? null,
    };
    const at = (setting: string) => this.#given.get(setting)?.at ?? { file: path, line: 0 };
    const { warnings: ruleWarnings, ...login } = loadLoginRules(base, at, this.#authFiles);
    if ((login.ldap?.bindPassword ?? '') !== '') this.#passwordFiles.add(at('auth_ldap_options').file);
    return {
      ...base,
      path,
      passwordFiles: [...this.#passwordFiles],
      own,
      texts,
      autoDatabaseAt: this.#auto?.at ?? null,
      users: this.#users,
      peers: this.#peers,
      userlist,
      userlistSource,
      login,
      warnings: [...this.#warnings, ...warnings, ...ruleWarnings],
    };
  }

  /** Defaults, then what the file says, then what RELOAD must not touch. */
  #texts(path: string): Map<string, string> {
    const texts = defaultTexts();
    texts.set('conffile', path);
    const before = this.#previous?.texts;
    for (const [name, row] of Object.entries(settingsTable)) {
      const old = before?.get(name);
      if (row.default === null && old !== undefined) texts.set(name, old);
    }
    for (const [name, { value }] of this.#given) texts.set(name, value);
    if (before !== undefined) this.#keepStartValues(texts, before);
    return texts;
  }

  #keepStartValues(texts: Map<string, string>, before: ReadonlyMap<string, string>): void {
    for (const [name, row] of Object.entries(settingsTable)) {
      if (row.reloadable) continue;
      const old = before.get(name);
      const now = texts.get(name);
      // 0777 and 511 are the same mode.
      if (formatSetting(row, old ?? null) === formatSetting(row, now ?? null)) continue;
      if (old === undefined) texts.delete(name);
      else texts.set(name, old);
      this.#warn(`${name} cannot be changed by RELOAD, its new value takes effect at the next start`);
    }
  }

  #warnAboutMissingEffects(): void {
    const names = [...this.#given]
      .filter(([name, { value }]) => isWithoutEffect(name, value))
      .map(([name]) => name);
    if (names.length === 0) return;
    this.#warn(`set but without effect so far: ${names.join(', ')}`);
  }
}
