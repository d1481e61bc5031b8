import { createServer, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { LdapClient } from '../../src/auth/ldap-client.ts';
import type { LdapOptions } from '../../src/config/ldap-options.ts';
import { waitFor } from '../support/wait-for.ts';

test('a thousand logins wait for LDAP, and more are refused: a slow server must not fill the memory with passwords', async () => {
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
  const waiting = Array.from({ length: 1000 }, () => check(false));
  expect(await check(true)).toBe('too many logins wait for LDAP servers');
  await waitFor(() => sockets.length === 8, { what: 'eight connections' });
  for (const socket of sockets) socket.destroy();
  for (const problem of await Promise.all(asked)) expect(problem).toContain('no LDAP server answers');
  expect(new Set(await Promise.all(waiting))).toEqual(new Set(['nobody waits for the answer any more']));
  server.close();
});
