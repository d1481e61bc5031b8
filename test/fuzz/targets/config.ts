import { ConfigError } from '../../../src/config/config-error.ts';
import { parseConnectString } from '../../../src/config/connect-string.ts';
import { parseDatabase } from '../../../src/config/databases.ts';
import { readIni } from '../../../src/config/ini-lines.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { parseUserlist } from '../../../src/config/userlist.ts';
import { parseUser } from '../../../src/config/users.ts';
import { parseStatement } from '../../../src/admin/parse.ts';
import { memoryFiles } from '../../config/files.ts';
import { allowing, must, type Target } from '../target.ts';

const AT = { file: 'a.ini', line: 1 };

const ini: Target = {
  name: 'ini',
  seeds: [
    '[databases]\na = host=h port=1 password=x\n* = host=h\n[pgbouncer]\nlisten_port = 1\npool_mode = session\n',
    "[users]\nu = pool_mode=session\n[peers]\n1 = host=h\n[pgweir]\nlog_format = json\n;pgweir log_format = json\n'a b' = x\n",
    '[pgbouncer]\n%include b.ini\nserver_lifetime = 1.5\n# x\n; y\n',
  ],
  words: [
    '[databases]\n',
    '[pgbouncer]\n',
    '%include a.ini\n',
    '%include b.ini\n',
    ' = ',
    ';pgweir ',
    "'",
    '\n',
    '\r\n',
    '*',
    'auth_type',
    'time',
    '0x',
  ],
  maxBytes: 4096,
  run: (bytes) => {
    const files = memoryFiles({ 'a.ini': bytes, 'b.ini': '[pgbouncer]\nlisten_port = 2\n' });
    allowing([ConfigError], () => readIni('a.ini', files));
    const config = allowing([ConfigError], () => loadConfig('a.ini', null, files));
    if (config !== null) allowing([ConfigError], () => loadConfig('a.ini', config, files));
  },
};

const connectStrings: Target = {
  name: 'connect-strings',
  seeds: [
    "host=h port=5432 user='a b' password='it''s' pool_size=5",
    'dbname=x load_balance_hosts=disable',
    '',
  ],
  words: [
    'host=',
    "'",
    "''",
    ' ',
    '=',
    ',',
    'port=',
    'password=',
    'connect_query=',
    'max_db_connections=',
    '-1',
    '99999999999',
  ],
  maxBytes: 2048,
  run: (bytes) => {
    const text = bytes.toString('utf8');
    const pairs = allowing([ConfigError], () => parseConnectString(text, 'x', AT));
    if (pairs !== null)
      must(
        pairs.every(({ key, value }) => key !== '' && value !== ''),
        'keys with values',
      );
    allowing([ConfigError], () => parseDatabase('x', text, AT, () => {}));
    allowing([ConfigError], () => parseUser('x', text, AT, () => {}));
  },
};

const userlist: Target = {
  name: 'userlist',
  seeds: ['"u" "p"\n;c\n"a""b" "md5x" more\n', '"u"\t"p"\r\n\n"v" ""'],
  words: ['"', '""', '" "', '\n', ';', '\0', '\xff'],
  maxBytes: 4096,
  run: (bytes) => {
    const { secrets, brokenLine } = parseUserlist(bytes);
    must(brokenLine >= 0, 'a line');
    for (const [user, secret] of secrets) {
      must(Buffer.byteLength(user) <= 127 && Buffer.byteLength(secret) <= 65_530, 'within limits');
      must(!user.includes('\0') && !secret.includes('\0'), 'without a zero');
    }
  },
};

const consoleCommands: Target = {
  name: 'console',
  seeds: ['SHOW POOLS;', "SET a = 'b''c'", 'SET x TO "y"', 'KILL "d"', 'SELECT version'],
  words: ['SHOW ', 'SET ', ' = ', ' TO ', "'", '"', ';', '""', "''", 'PAUSE '],
  maxBytes: 5000,
  run: (bytes) => {
    const statement = parseStatement(bytes.toString('utf8'));
    if (statement.kind === 'command') must(statement.word.length <= 15, 'short words');
    if (statement.kind === 'set') must(Buffer.byteLength(statement.value) <= 255, 'short values');
  },
};

export const configTargets: readonly Target[] = [ini, connectStrings, userlist, consoleCommands];
