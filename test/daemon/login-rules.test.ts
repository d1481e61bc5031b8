import { expect, test } from 'vitest';
import type { LoginApplicant } from '../../src/auth/login-exchange.ts';
import { readAuthFile } from '../../src/config/auth-lines.ts';
import { parseHbaLines } from '../../src/config/hba.ts';
import type { AuthQueries } from '../../src/daemon/auth-queries.ts';
import type { PoolerState } from '../../src/daemon/context.ts';
import { DaemonLoginRules } from '../../src/daemon/login-rules.ts';
import { HostNames } from '../../src/net/host-names.ts';
import { openNative } from '../../src/net/native.ts';
import { ManualClock } from '../support/manual-clock.ts';

function applicant(ip: string): LoginApplicant {
  return { database: 'd', user: 'u', isConsole: false, replication: 'none', ip, peerUid: null, tls: null };
}

function rulesOf(text: string, hosts?: HostNames): DaemonLoginRules {
  const lines = readAuthFile('hba', 'auth_hba_file', { read: () => Buffer.from(text), list: () => [] });
  const hba = parseHbaLines(lines, { maps: new Map(), hasAuthUser: false, warn: () => {} });
  const config = { settings: { auth_type: 'hba' }, login: { hba, ldap: null } };
  const state = { config, clock: new ManualClock() } as unknown as PoolerState;
  return new DaemonLoginRules(state, {} as AuthQueries, openNative(), hosts);
}

test('an address of one link is what it is without the name of our interface', () => {
  const rules = rulesOf('host all all fe80::/64 reject\nhost all all all trust\n');
  const methodFor = (ip: string): unknown =>
    rules.find({ applicant: applicant(ip), asker: { isAbandoned: false }, warn: () => {} });
  expect(methodFor('fe80::1%eth0')).toMatchObject({ method: 'reject' });
  expect(methodFor('fe80:0:0:1::1%eth0')).toMatchObject({ method: 'trust' });
});

test('that nobody can tell whose address it is says the client’s own log, which is throttled', async () => {
  const away = (): Promise<never> => Promise.reject(new Error('no server answers'));
  const hosts = new HostNames(new ManualClock(), { reverse: away, forward: away });
  const rules = rulesOf('host all all db.example.org trust\nhost all all all reject\n', hosts);
  const said: string[] = [];
  const find = (isAbandoned: boolean) =>
    rules.find({
      applicant: applicant('192.0.2.1'),
      asker: { isAbandoned },
      warn: (text) => void said.push(text),
    });
  expect(await find(false)).toMatchObject({ method: 'reject' });
  await find(true);
  expect(said).toEqual(['cannot tell whether 192.0.2.1 is a host of db.example.org']);
});
