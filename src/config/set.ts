import type { Config } from './config.ts';
import { ConfigError } from './config-error.ts';
import { loadLoginRules } from './hba-source.ts';
import { checkSetting, isWithoutEffect, typedSettings } from './settings.ts';
import { settingRow } from './settings-table.ts';
import { loadUserlist } from './userlist-source.ts';

/**
 * What became of a `SET`. `error` is the text for the client and `reason` says why, for a detail field and the
 * log. `notice` is null or something that the operator should know although the value is taken.
 */
export type SetResult =
  | { readonly ok: true; readonly config: Config; readonly notice: string | null }
  | { readonly ok: false; readonly error: 'SET failed'; readonly reason: string };

/**
 * Applies the console's `SET key = value`, ours and PgBouncer's settings alike; the old configuration stays as
 * it is and the next RELOAD undoes the change. Settings read at start only are refused. Never throws.
 * Source: PgBouncer, console command SET.
 */
export function setSetting(config: Config, key: string, value: string): SetResult {
  const row = settingRow(key);
  if (row === null) return failed(`there is no setting ${key}`);
  if (!row.reloadable) return failed(`${key} can be changed by a restart only`);
  const parsed = checkSetting(key, row, value);
  if (!parsed.ok) return failed(`${key}: expected ${parsed.expected}`);
  const texts = new Map(config.texts).set(key, value);
  const { settings, own } = typedSettings(texts);
  const next: Config = {
    ...config,
    settings: { ...settings, conffile: settings.conffile ?? config.path },
    own,
    texts,
  };
  const notice = isWithoutEffect(key, value) ? `${key} is set but without effect so far` : null;
  return decidesOnFiles.has(key) ? withAuthFiles(config, next) : { ok: true, config: next, notice };
}

// Which files are read, and how, depends on these.
const decidesOnFiles: ReadonlySet<string> = new Set([
  'auth_file',
  'auth_type',
  'auth_hba_file',
  'auth_ident_file',
  'auth_ldap_options',
  'auth_user',
  'client_tls_sslmode',
  'client_tls_ca_file',
]);

function withAuthFiles(config: Config, next: Config): SetResult {
  try {
    const at = { file: config.path, line: 0 };
    const { userlist, userlistSource, warnings } = loadUserlist(next.settings, config, { at });
    const { warnings: ruleWarnings, ...login } = loadLoginRules(next, () => at);
    const notes = [...warnings, ...ruleWarnings];
    return {
      ok: true,
      config: { ...next, userlist, userlistSource, login },
      notice: notes.length > 0 ? notes.join('; ') : null,
    };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return failed(`${error.key}: expected ${error.expected}`);
  }
}

function failed(reason: string): SetResult {
  return { ok: false, error: 'SET failed', reason };
}
