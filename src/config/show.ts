import type { Config } from './config.ts';
import { hideLdapPassword } from './ldap-options.ts';
import type { SettingRow } from './setting-rows.ts';
import { formatSetting } from './setting-values.ts';
import { ownSettingsTable, settingsTable } from './settings-table.ts';

/** One row of `SHOW CONFIG`; null is SQL's NULL. */
export interface ConfigRow {
  readonly key: string;
  readonly value: string | null;
  readonly default: string | null;
  readonly changeable: 'yes' | 'no';
}

/** The rows of `SHOW CONFIG` in PgBouncer's order, then our own settings. */
export function configRows(config: Config): ConfigRow[] {
  return [...tableRows(settingsTable, config), ...tableRows(ownSettingsTable, config)];
}

function tableRows(table: Readonly<Record<string, SettingRow>>, config: Config): ConfigRow[] {
  return Object.entries(table)
    .sort(([a], [b]) => (orderKey(a) < orderKey(b) ? -1 : 1))
    .map(([key, row]) => ({
      key,
      value: shownValue(key, row, config),
      // As it would stand in the file: PgBouncer formats values only.
      default: row.default,
      changeable: row.reloadable ? 'yes' : 'no',
    }));
}

function shownValue(key: string, row: SettingRow, config: Config): string | null {
  const text = formatSetting(row, config.texts.get(key) ?? null) ?? (row.type === 'int' ? '0' : null);
  return key === 'auth_ldap_options' && text !== null ? hideLdapPassword(text) : text;
}

// PgBouncer's order is alphabetical but for one pair: pool_mode precedes pool_idle_timeout.
function orderKey(name: string): string {
  return name === 'pool_mode' ? 'pool_idle' : name;
}
