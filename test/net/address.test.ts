import { type AddressInfo, connect, createServer, Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import {
  formatAddrColumn,
  formatForApplicationName,
  formatHostPort,
  formatPeer,
  type PeerAddress,
  peerName,
  tcpPeerAddress,
} from '../../src/net/address.ts';

const ip4: PeerAddress = { kind: 'tcp', ip: '10.0.0.1', port: 5000 };
const ip6: PeerAddress = { kind: 'tcp', ip: '::1', port: 5000 };
const unix: PeerAddress = { kind: 'unix', pid: 77, port: 6432 };
const unknown: PeerAddress = { kind: 'unix', pid: null, port: 6432 };

describe('addresses', () => {
  it('in log lines put IPv6 in brackets and show the pid of a unix peer when it is known', () => {
    expect([ip4, ip6, unix, unknown].map(formatPeer)).toEqual([
      '10.0.0.1:5000',
      '[::1]:5000',
      'unix(77):6432',
      'unix:6432',
    ]);
  });

  it('in SHOW columns are the bare IP address or the word unix', () => {
    expect([ip4, ip6, unix, unknown].map(formatAddrColumn)).toEqual(['10.0.0.1', '::1', 'unix', 'unix']);
  });

  it('in application_name name the host beside the pid', () => {
    const forName = (address: PeerAddress) => formatForApplicationName(address, 'web1');
    expect([ip4, ip6, unix, unknown].map(forName)).toEqual([
      '10.0.0.1:5000',
      '[::1]:5000',
      'unix(77@web1):6432',
      'unix:6432',
    ]);
  });

  it('leave a host name without brackets', () => {
    expect(formatHostPort('db.example', 5432)).toBe('db.example:5432');
  });

  it('are IPv4 for an IPv4 peer on a socket that takes both families', async () => {
    const server = createServer();
    await new Promise<void>((settle) => server.listen(0, '::', settle));
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
    const accepted = await new Promise<Socket>((settle) => server.once('connection', settle));
    expect(accepted.remoteAddress).toBe('::ffff:127.0.0.1');
    expect(tcpPeerAddress(accepted)).toEqual({ kind: 'tcp', ip: '127.0.0.1', port: client.localPort });
    for (const socket of [client, accepted]) socket.destroy();
    server.close();
  });

  it('are unknown for a socket that is not connected', () => {
    expect(tcpPeerAddress(new Socket())).toBe(null);
  });
});

it.each([
  ['10.0.0.1', '10.0.0.1'],
  ['::ffff:10.0.0.1', '10.0.0.1'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::6', '2001:db8:1:2::/64'],
  ['2001:db8::6', '2001:db8:0:0::/64'],
  ['2001::1:2:3:4:5', '2001:0:0:1::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
])('the address %s is that of the peer %s', (ip, name) => {
  expect(peerName(ip)).toBe(name);
});
