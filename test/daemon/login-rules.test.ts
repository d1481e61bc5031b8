import { expect, test } from 'vitest';
import { readAuthFile } from '../../src/config/auth-lines.ts';
import { parseHbaLines } from '../../src/config/hba.ts';
import type { AuthQueries } from '../../src/daemon/auth-queries.ts';
import type { PoolerState } from '../../src/daemon/context.ts';
import { DaemonLoginRules } from '../../src/daemon/login-rules.ts';
import { openNative } from '../../src/net/native.ts';
import { ManualClock } from '../support/manual-clock.ts';

test('an address of one link is what it is without the name of our interface', () => {
  const text = 'host all all fe80::/64 reject\nhost all all all trust\n';
  const lines = readAuthFile('hba', 'auth_hba_file', { read: () => Buffer.from(text), list: () => [] });
  const hba = parseHbaLines(lines, { maps: new Map(), hasAuthUser: false, warn: () => {} });
  const config = { settings: { auth_type: 'hba' }, login: { hba, ldap: null } };
  const state = { config, clock: new ManualClock() } as unknown as PoolerState;
  const rules = new DaemonLoginRules(state, {} as AuthQueries, openNative());
  const methodFor = (ip: string): unknown =>
    rules.find(
      { database: 'd', user: 'u', isConsole: false, replication: 'none', ip, peerUid: null, tls: null },
      { isAbandoned: false },
    );
  expect(methodFor('fe80::1%eth0')).toMatchObject({ method: 'reject' });
  expect(methodFor('fe80:0:0:1::1%eth0')).toMatchObject({ method: 'trust' });
});
