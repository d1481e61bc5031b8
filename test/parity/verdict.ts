import { EventEmitter } from 'node:events';
import { commands } from '../../src/admin/commands.ts';
import { showTables } from '../../src/admin/show.ts';
import { parseArguments } from '../../src/cli/arguments.ts';
import { parseDatabase } from '../../src/config/databases.ts';
import { parsePeer } from '../../src/config/peers.ts';
import { settingDifference } from '../../src/config/setting-differences.ts';
import { settingRow, type SettingName, settingsTable } from '../../src/config/settings-table.ts';
import { parseUser } from '../../src/config/users.ts';
import { installSignals } from '../../src/daemon/signals.ts';
import { SHOW_COLUMNS } from '../support/show-columns.ts';

/** `not yet`: to be built. */
export type Verdict = 'same' | 'better' | 'absent' | 'not yet';

/** One fact of the contract, and how it is here. */
export interface Row {
  readonly what: string;
  readonly verdict: Verdict;
  /** How it is better, or why it is absent; empty for what is the same. */
  readonly text: string;
}

export const same = (what: string): Row => ({ what, verdict: 'same', text: '' });
export const better = (what: string, text: string): Row => ({ what, verdict: 'better', text });
export const absent = (what: string, text: string): Row => ({ what, verdict: 'absent', text });
const notYet = (what: string, text = ''): Row => ({ what, verdict: 'not yet', text });

/** What may be absent for good, each for a reason. */
export const MAY_BE_ABSENT: ReadonlySet<string> = new Set([
  '`job_name`',
  '`resolv_conf`',
  '`dns_zone_check_period`',
  '`client_tls_dheparams`',
  // By a decision of its own: no binding of it is maintained.
  'pam',
  'passing of sockets in `-R`',
  'passing of sockets in `SHOW FDS`',
]);

/** Settings of an implementation that ours has no use for: accepted, and there is nothing to choose. */
const NOTHING_TO_CHOOSE: ReadonlySet<SettingName> = new Set(['pkt_buf', 'sbuf_loopcnt']);

/** A setting, by its row of the settings table. */
export function setting(name: string): Row {
  const what = `\`${name}\``;
  const row = settingRow(name);
  const difference = settingDifference(name);
  if (row === null) return absent(what, 'not in the settings table');
  if (row.effect === 'not yet') {
    if (MAY_BE_ABSENT.has(what) && difference !== null) return absent(what, difference);
    if (NOTHING_TO_CHOOSE.has(name as SettingName) && difference !== null) return better(what, difference);
    return notYet(what, 'accepted, without effect');
  }
  const refused = row.type === 'enum' ? row.refused : [];
  if (refused.length > 0) return notYet(what, `refused: ${refused.join(', ')}`);
  return difference === null ? same(what) : better(what, difference);
}

/** A row that holds once this setting has effect. */
export function onceEffective(name: SettingName, row: Row): Row {
  return settingsTable[name].effect === 'yes' ? row : notYet(row.what);
}

/** A row that holds once this setting takes the value. */
export function onceTaken(name: SettingName, value: string, row: Row): Row {
  const { type, ...rest } = settingsTable[name];
  const values = type === 'enum' && 'values' in rest ? (rest.values as readonly string[]) : [];
  return values.includes(value) ? row : notYet(row.what);
}

/** A key of an entry in `[databases]`, `[users]` or `[peers]`: by whether it is read. */
export function entryKey(section: 'databases' | 'users' | 'peers', pair: string, row: Row): Row {
  const at = { file: 'parity.ini', line: 1 };
  const read = { databases: parseDatabase, users: parseUser, peers: parsePeer }[section];
  try {
    const text = section === 'peers' && !pair.startsWith('host') ? `host=a ${pair}` : pair;
    read(section === 'peers' ? '1' : 'name', text, at, () => {});
    return row;
  } catch {
    return absent(row.what, 'not read');
  }
}

/** An option of the command line: by whether it is taken. */
export function option(args: readonly string[], row: Row): Row {
  return parseArguments(args).kind === 'error' ? notYet(row.what) : row;
}

/** A signal: by whether it is listened to. */
export function signal(name: string, row: Row): Row {
  const source = new EventEmitter();
  const nothing = (): void => {};
  const handlers = {
    isShuttingDown: () => false,
    isPaused: () => false,
    isSuspended: () => false,
    reload: nothing,
    shutdownWaitForClients: nothing,
    shutdownWaitForServers: nothing,
    exitNow: nothing,
    pause: nothing,
    resume: nothing,
  };
  installSignals(handlers, { enabled: () => false, log: nothing }, source);
  return source.listenerCount(name) > 0 ? row : absent(row.what, 'not listened to');
}

/** A command of the console: by whether it is there. */
export function command(word: string, row: Row): Row {
  return commands.has(word) ? row : absent(row.what, 'no such command');
}

/** A SHOW: by whether it has PgBouncer's columns. */
export function show(name: string, row: Row = same(`\`SHOW ${name}\``)): Row {
  const table = showTables.get(name.toLowerCase());
  const columns = table?.columns.map((column) => `${column.name}:${column.type}`);
  const isAlike = columns !== undefined && columns.join() === SHOW_COLUMNS[name]?.join();
  return isAlike ? row : absent(row.what, 'not with these columns');
}
