import type { Config } from '../config/config.ts';
import { poolLimits } from '../config/effective.ts';
import { entriesOf } from './entries.ts';
import type { Findings } from './finding.ts';

/** What a pool mode makes of other settings. `given`: names of the settings that the files set. */
export function checkModes(findings: Findings, config: Config, given: ReadonlySet<string>): void {
  const { settings } = config;
  const modes = new Set<string>([settings.pool_mode]);
  for (const entry of entriesOf(config)) {
    modes.add(poolLimits(config, entry, entry.user ?? '').poolMode);
  }
  for (const { poolMode } of config.users.values()) if (poolMode !== null) modes.add(poolMode);
  const sharing = [...modes].filter((mode) => mode !== 'session');
  if (sharing.length === 0) return;
  const where = `in ${sharing.join(' and ')} mode`;
  if (settings.server_reset_query_always) {
    const text = `runs after every transaction ${where}: a round trip each, and DISCARD ALL drops prepared statements`;
    findings.add('warning', 'reset-query', 'server_reset_query_always', text);
  } else if (given.has('server_reset_query') && settings.server_reset_query !== '') {
    const text = `is not run ${where}: what a client leaves in a session (SET, LISTEN, advisory locks) the next one has`;
    findings.add('warning', 'reset-query', 'server_reset_query', text);
  }
  if (settings.max_prepared_statements === 0) {
    const text = `0: prepared statements of clients fail ${where}; most drivers prepare by default`;
    findings.add('warning', 'prepared-statements', 'max_prepared_statements', text);
  }
}
