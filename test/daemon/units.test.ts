import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseArguments } from '../../src/cli/arguments.ts';
import { skip } from '../support/skip.ts';

const config = resolve(import.meta.dirname, '../../config');
const units = readdirSync(config).filter((name) => /\.(service|socket)$/.test(name));
const services = units.filter((name) => name.endsWith('.service'));

/** What `systemd-analyze security` may say of the exposure, in tenths: it calls up to 50 medium, 100 is unguarded. */
const MOST_EXPOSED = 25;

/** `[section, key, value]` of each line that is no comment. */
function assignments(name: string): [string, string, string][] {
  let section = '';
  const found: [string, string, string][] = [];
  for (const line of readFileSync(join(config, name), 'utf8').split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const header = /^\[(\w+)\]$/.exec(line)?.[1];
    if (header !== undefined) {
      section = header;
      continue;
    }
    const [, key, value] = /^([A-Za-z]+)=(.*)$/.exec(line) ?? [];
    if (key === undefined || value === undefined) throw new Error(`${name}: ${line}`);
    found.push([section, key, value]);
  }
  return found;
}

function values(name: string, key: string): string[] {
  return assignments(name)
    .filter((entry) => entry[1] === key)
    .map((entry) => entry[2]);
}

describe('the systemd units', () => {
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'pgweir-units-'));
    for (const name of units) {
      // An instance, and a Node that is there.
      const text = readFileSync(join(config, name), 'utf8').replaceAll('/usr/bin/node', process.execPath);
      writeFileSync(join(folder, name.replace('@.', '@1.')), text);
    }
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('are a service, its sockets, and a service of several instances', () => {
    expect(units.sort()).toEqual(['pgweir.service', 'pgweir.socket', 'pgweir@.service']);
  });

  it.for(units)('%s is understood by systemd without a word', (name, context) => {
    const { error, status, stderr } = spawnSync(
      'systemd-analyze',
      ['verify', '--man=no', join(folder, name.replace('@.', '@1.'))],
      { encoding: 'utf8' },
    );
    if (error !== undefined) {
      skip(
        context,
        `systemd-analyze does not run here (${error.message}); only the form of the file is checked`,
      );
    }
    // It reads the units that are installed as well, and has its opinion of some.
    const isOfOthers = (line: string) => line.startsWith('/') && !line.startsWith(folder);
    expect(stderr.split('\n').filter((line) => line !== '' && !isOfOthers(line))).toEqual([]);
    expect(status).toBe(0);
  });

  it.for(services)('%s is well guarded in the eyes of systemd', (name, context) => {
    const { error, status, stdout } = spawnSync(
      'systemd-analyze',
      ['security', '--offline=true', `--threshold=${MOST_EXPOSED}`, join(folder, name.replace('@.', '@1.'))],
      { encoding: 'utf8' },
    );
    if (error !== undefined) skip(context, `systemd-analyze does not run here (${error.message})`);
    expect(status, stdout).toBe(0);
  });

  it.each(services)('%s forbids nothing that the program does', (name) => {
    // Its unix socket is in /tmp by default, Node compiles at run time, and an HBA file may name the machine's networks.
    expect(values(name, 'PrivateTmp').concat(values(name, 'MemoryDenyWriteExecute'))).toEqual([]);
    expect(values(name, 'RestrictAddressFamilies')).toEqual(['AF_UNIX AF_INET AF_INET6 AF_NETLINK']);
    // A call that is not allowed fails; by default it would end the process.
    expect(values(name, 'SystemCallErrorNumber')).toEqual(['EPERM']);
  });

  it('both services are guarded alike', () => {
    const guards = (name: string) =>
      assignments(name).filter(([, key]) =>
        /^(Capability|Limit|Lock|NoNew|Private|Protect|Restrict|System)/.test(key),
      );
    expect(guards('pgweir@.service')).toEqual(guards('pgweir.service'));
    expect(guards('pgweir.service').length).toBeGreaterThan(15);
  });

  it.each(services)('%s is told when it is up, and dumps no memory', (name) => {
    const one = (key: string) => values(name, key);
    expect(one('Type')).toEqual(['notify']);
    expect(one('LimitCORE')).toEqual(['0']);
    expect(one('NoNewPrivileges')).toEqual(['yes']);
    expect(one('User')).toEqual(['pgweir']);
    expect(one('Environment')).toEqual(['NODE_OPTIONS=--disable-sigusr1']);
    expect(one('ExecReload')).toEqual(['/bin/kill -HUP $MAINPID']);
  });

  it.each(services)('%s runs the program with arguments that it understands', (name) => {
    const [node, program, ...args] = (values(name, 'ExecStart')[0] ?? '').split(' ');
    // Where README has npm put it; package.test.ts does so.
    expect([node, program]).toEqual(['/usr/bin/node', '/opt/pgweir/bin/pgweir']);
    // Not quiet: the log would not reach the journal.
    expect(parseArguments(args)).toMatchObject({ kind: 'run', quiet: false, daemon: false });
  });

  it('a single one ends when its queries do, one of several when its clients do', () => {
    expect(services.map((name) => [name, ...values(name, 'KillSignal')]).sort()).toEqual([
      ['pgweir.service', 'SIGINT'],
      ['pgweir@.service', 'SIGTERM'],
    ]);
  });

  it('the unix socket outlives the service, whose folder it is in', () => {
    const folders = values('pgweir.service', 'RuntimeDirectory').map((name) => `/run/${name}`);
    const paths = values('pgweir.socket', 'ListenStream').filter((address) => address.startsWith('/'));
    expect(paths.map((path) => dirname(path))).toEqual(folders);
    expect(values('pgweir.service', 'RuntimeDirectoryPreserve')).toEqual(['yes']);
  });

  it('the sockets are TCP and unix, on the same number', () => {
    expect(values('pgweir.socket', 'ListenStream')).toEqual(['6432', '/run/pgweir/.s.PGSQL.6432']);
  });
});
