import { type AuthLine, readAuthFile, splitAuthLine } from '../../../src/config/auth-lines.ts';
import { ConfigError } from '../../../src/config/config-error.ts';
import { parseHbaLines } from '../../../src/config/hba.ts';
import { findHbaRule, isQuestion } from '../../../src/config/hba-match.ts';
import { parseIdentLines } from '../../../src/config/ident.ts';
import { identFits } from '../../../src/config/ident-match.ts';
import { parseIp } from '../../../src/config/ip-address.ts';
import { isLdapOption, parseLdapOptions } from '../../../src/config/ldap-options.ts';
import { LookupReader } from '../../../src/server/lookup-reader.ts';
import { ProtocolViolation } from '../../../src/wire/pg-error.ts';
import { backend, message } from '../../support/peer-messages.ts';
import { allowing, must, type Target } from '../target.ts';

const AT = { file: 'f', line: 1 };

/** The lines of a file that may include itself and another. */
function linesOf(bytes: Buffer): readonly AuthLine[] | null {
  const read = (path: string): Buffer => {
    if (path === '/a') return bytes;
    if (path === '/b') return Buffer.from('x, y\n# z\n"q"');
    throw Object.assign(new Error('not there'), { code: 'ENOENT' });
  };
  return allowing([ConfigError], () => readAuthFile('/a', 'k', { read, list: () => ['b'] }));
}

const hba: Target = {
  name: 'hba',
  seeds: [
    'local all all peer\nhost d,"e f" u,+g 10.0.0.0/8 md5\nhostssl sameuser /^a+$ ::1/128 scram-sha-256\n',
    'host all @b .example.org ldap ldapserver=h ldapbasedn="dc=x, dc=y"\nhost all all 1.2.3.4 255.255.255.0 reject\n',
    'include b\ninclude_if_exists c\ninclude_dir d\nhostnossl replication all samenet trust \\\n # end\n',
  ],
  words: [
    'host ',
    'all ',
    ' trust\n',
    '"',
    '""',
    ',',
    '@b',
    '+',
    '/',
    '/32',
    '::',
    ' reject',
    '\\\n',
    '#',
    '=',
    'include a\n',
    '(',
    '*',
  ],
  maxBytes: 2048,
  run: (bytes) => {
    const lines = linesOf(bytes);
    if (lines === null) return;
    const around = { maps: new Map(), hasAuthUser: true, warn: () => {} };
    const rules = allowing([ConfigError], () => parseHbaLines(lines, around));
    if (rules === null) return;
    must(rules.length === lines.length, 'a rule for each line');
    for (const ip of ['10.1.2.3', '::1', null]) {
      const who = {
        database: 'd',
        user: 'aaaa',
        replication: 'none',
        isTls: false,
        isOwn: () => true,
      } as const;
      const answers = new Map<string, boolean | null>();
      const find = () => findHbaRule(rules, { ...who, ip: ip === null ? null : parseIp(ip) }, answers);
      let found = find();
      for (let asked = 0; found !== null && isQuestion(found); asked++) {
        must(!answers.has(found.key) && asked < 10_000, 'each question once');
        answers.set(found.key, [true, false, null][asked % 3] ?? null);
        found = find();
      }
    }
  },
};

const ident: Target = {
  name: 'ident',
  seeds: ['m joe app\nm /^(.*)@x\\.org$ \\1\n', 'm "a b" all\nn joe +g\nn joe /^a|b$\n'],
  words: ['m ', ' all\n', '/^', '(.*)', '\\1', '"', '+', '|', '?', '{2,3}', '[^a]', '$'],
  maxBytes: 1024,
  run: (bytes) => {
    const lines = linesOf(bytes);
    if (lines === null) return;
    const maps = allowing([ConfigError], () => parseIdentLines(lines));
    for (const rules of maps?.values() ?? []) {
      for (const name of ['joe', 'a'.repeat(127), '']) identFits(rules, [name], 'app', new Map());
    }
  },
};

const ldapOptions: Target = {
  name: 'ldap-options',
  seeds: [
    'ldapserver="a b" ldapprefix="uid=" ldapsuffix=",dc=x"',
    'ldapurl="ldaps://h:636/dc=x?uid?sub?(a=$username)"',
    'ldapserver=a, ldapbasedn=x ldapsearchattribute=cn ldapport=7 ldaptls=1',
  ],
  words: ['ldapurl=', 'ldap://', '"', '?', '%', '[::1]', 'ldaptls=', '=', ' ', ',', '(', ')', '$username'],
  maxBytes: 1024,
  run: (bytes) => {
    const text = bytes.toString('utf8').replaceAll('\n', ' ');
    const fields = allowing([ConfigError], () => splitAuthLine(text, AT, 'k'));
    if (fields === null) return;
    const given = new Map<string, string>();
    for (const { text: option } of fields.flat()) {
      const [name = ''] = option.split('=', 1);
      if (isLdapOption(name)) given.set(name, option.slice(name.length + 1));
    }
    const options = allowing([ConfigError], () => parseLdapOptions(given, AT));
    if (options === null) return;
    must(options.baseDn !== '' && options.servers.every((server) => server !== ''), 'no empty names');
    must(options.port === null || (options.port > 0 && options.port < 65_536), 'a port');
  },
};

const lookups: Target = {
  name: 'auth-query-answers',
  seeds: [
    Buffer.concat([
      ...[message('1'), message('2'), backend.rowDescription('a', 'b'), backend.dataRow('u', 's')],
      ...[backend.commandComplete('SELECT 1'), backend.readyForQuery()],
    ]),
    Buffer.concat([backend.errorResponse({ S: 'ERROR', M: 'no' }), backend.readyForQuery(), message('n')]),
  ],
  words: ['T', 'D', 'Z', 'E', 'C', 'I', '\0\0\0\x04', '\0\0\0\x05', '\xff\xff\xff\xff', '\0'],
  maxBytes: 4096,
  run: (bytes) => {
    let answers = 0;
    const reader = new LookupReader(
      () => true,
      ({ row, columns }) => {
        answers++;
        must(row === null || row.every((cell) => cell === null || typeof cell === 'string'), 'text');
        must(Number.isInteger(columns), 'a count');
      },
    );
    allowing([ProtocolViolation], () => reader.feed(bytes, 0, bytes.length));
    must(answers * 6 <= bytes.length, 'an answer for each ReadyForQuery');
  },
};

export const ruleTargets: readonly Target[] = [hba, ident, ldapOptions, lookups];
