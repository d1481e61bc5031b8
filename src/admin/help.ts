import { showTables } from './show.ts';

const NAMES_PER_LINE = 6;

/** The detail text of `SHOW HELP`: every command on a line of its own, behind a tab. */
export const helpText: string = makeHelpText();

function makeHelpText(): string {
  const names = ['HELP', ...[...showTables.keys()].map((name) => name.toUpperCase())];
  const lines: string[] = [];
  for (let i = 0; i < names.length; i += NAMES_PER_LINE) {
    lines.push(`SHOW ${names.slice(i, i + NAMES_PER_LINE).join('|')}`);
  }
  lines.push(
    'SET key = value',
    'RELOAD',
    'PAUSE [<db>]',
    'RESUME [<db>]',
    'SUSPEND',
    'DISABLE <db>',
    'ENABLE <db>',
    'RECONNECT [<db>]',
    'KILL [<db>]',
    'KILL_CLIENT <client_id>',
    'WAIT_CLOSE [<db>]',
    'SHUTDOWN',
    'SHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS',
  );
  return lines.map((line) => `\n\t${line}`).join('');
}
