import type { Config } from '../config/config.ts';
import { poolLimits } from '../config/effective.ts';
import { entriesOf } from './entries.ts';
import type { Findings } from './finding.ts';

/**
 * Timeouts of which one keeps another from ever coming, and sizes that contradict each other. `given`: names of the
 * settings that the files set; that one of the others never passes was nobody's wish, and does no harm by itself.
 */
export function checkTimeouts(findings: Findings, config: Config, given: ReadonlySet<string>): void {
  const { settings } = config;
  const warn = (subject: string, message: string): void =>
    findings.add('warning', 'contradiction', subject, message);
  /** `later` can never come, for `sooner` comes first; both 0 when off. */
  const never = (
    later: keyof typeof settings,
    sooner: keyof typeof settings,
    why: string,
    isHarmless = !given.has(later),
  ): void => {
    const [late, soon] = [Number(settings[later]), Number(settings[sooner])];
    if (late <= 0 || soon <= 0 || late < soon) return;
    const text = `${late} s never passes: ${sooner} (${soon} s) ${why}`;
    findings.add(isHarmless ? 'note' : 'warning', 'contradiction', later, text);
  };
  never('query_wait_timeout', 'query_timeout', 'ends a query that waits, too');
  never('query_wait_notify', 'query_wait_timeout', 'ends the wait before');
  never('query_timeout', 'transaction_timeout', 'ends the transaction before');
  never('idle_transaction_timeout', 'transaction_timeout', 'ends the transaction before');
  never('server_idle_timeout', 'server_lifetime', 'closes the connection before');
  never(
    'server_connect_timeout',
    'client_login_timeout',
    'closes clients that wait for the first server before',
    false,
  );
  if (settings.reserve_pool_size > 0) {
    if (settings.reserve_pool_timeout === 0)
      warn('reserve_pool_size', 'is never used: reserve_pool_timeout is 0');
    else never('reserve_pool_timeout', 'query_wait_timeout', 'ends the wait before the reserve opens', false);
  }
  if (settings.server_check_query === '' && settings.server_check_delay !== 30)
    warn('server_check_delay', 'has no effect: server_check_query is empty');
  checkSizes(findings, config);
}

function checkSizes(findings: Findings, config: Config): void {
  const { settings } = config;
  for (const entry of entriesOf(config)) {
    const subject = `[databases] ${entry.name}`;
    const limits = poolLimits(config, entry, entry.user ?? '');
    const { poolSize, minPoolSize, maxDbConnections, maxUserConnections } = limits;
    const warn = (message: string): void => findings.add('warning', 'contradiction', subject, message);
    if (poolSize === 0)
      findings.add('warning', 'unbounded', subject, 'pool_size is 0: its pools have no limit of their own');
    if (poolSize > 0 && minPoolSize > poolSize)
      warn(`min_pool_size ${minPoolSize} is more than pool_size ${poolSize}, which it never gets beyond`);
    if (maxDbConnections > 0 && maxDbConnections < poolSize)
      warn(`pool_size ${poolSize} is never reached: max_db_connections is ${maxDbConnections}`);
    if (maxUserConnections > 0 && maxUserConnections < poolSize)
      warn(`pool_size ${poolSize} is never reached: max_user_connections is ${maxUserConnections}`);
  }
  if (settings.max_client_conn < settings.default_pool_size) {
    const text = `${settings.max_client_conn} clients never need a pool of ${settings.default_pool_size}`;
    findings.add('note', 'contradiction', 'max_client_conn', text);
  }
}
