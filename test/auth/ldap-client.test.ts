import { createServer, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { LdapClient } from '../../src/auth/ldap-client.ts';
import type { LdapOptions } from '../../src/config/ldap-options.ts';
import { waitFor } from '../support/wait-for.ts';

test('any number of logins waits for LDAP, but none of a client that has left', async () => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => void sockets.push(socket.on('error', () => {})));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const options: LdapOptions = {
    ...{ servers: ['127.0.0.1'], port: address.port, scheme: 'ldap', startTls: false },
    ...{ prefix: 'cn=', suffix: '', baseDn: null, bindDn: '', bindPassword: '' },
    ...{ searchAttribute: 'uid', searchFilter: null, scope: 'sub' },
  };
  const client = new LdapClient();
  const check = (isWanted: boolean) => client.check(options, 'u', 'p', () => isWanted);
  const asked = Array.from({ length: 8 }, () => check(true));
  const there = { isThere: true };
  const waiting = Array.from({ length: 1500 }, () => client.check(options, 'u', 'p', () => there.isThere));
  const last = check(true);
  await waitFor(() => sockets.length === 8, { what: 'eight connections' });
  there.isThere = false;
  client.sweep();
  expect(new Set(await Promise.all(waiting))).toEqual(new Set(['nobody waits for the answer any more']));
  for (const socket of sockets) socket.destroy();
  await waitFor(() => sockets.length === 9, { what: 'the ninth' });
  sockets[8]?.destroy();
  for (const problem of await Promise.all([...asked, last])) {
    expect(problem).toContain('no LDAP server answers');
  }
  server.close();
});
