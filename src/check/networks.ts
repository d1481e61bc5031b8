import { BlockList, isIP } from 'node:net';
import type { HbaAddress } from '../config/hba.ts';
import { type IpBytes, maskOf, parseIp, sameNetwork } from '../config/ip-address.ts';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Whether others than programs on this machine can connect there. A name may be anything. */
export function isPublic(address: string): boolean {
  const version = isIP(address);
  if (version === 0) return address !== 'localhost';
  return !loopback.check(address, version === 6 ? 'ipv6' : 'ipv4');
}

type Network = Extract<HbaAddress, { kind: 'network' }>;

const LOOPBACK = ['127.0.0.0/8', '::1/128'].map(networkOf);
/** What no router of the Internet carries. Source: RFC 1918, 3927, 4193, 4291, 6598. */
const PRIVATE = [
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '169.254.0.0/16',
  '100.64.0.0/10',
  'fc00::/7',
  'fe80::/10',
].map(networkOf);

/**
 * From how far away a rule lets in: this machine, a network that nobody else is in (or hosts that are named), or anywhere.
 */
export function reachOf(address: HbaAddress | null): 'machine' | 'private' | 'public' {
  if (address === null) return 'machine';
  switch (address.kind) {
    case 'sameHost':
      return 'machine';
    case 'sameNet':
    case 'host':
      return 'private';
    case 'all':
      return 'public';
    case 'network':
      if (LOOPBACK.some((network) => covers(network, address))) return 'machine';
      return PRIVATE.some((network) => covers(network, address)) ? 'private' : 'public';
  }
}

/** Whether all addresses of one network are in the other one, too. */
export function covers(wide: Network, narrow: Network): boolean {
  const isNarrower = wide.mask.every((byte, i) => (byte & (narrow.mask[i] ?? 0)) === byte);
  return isNarrower && sameNetwork(wide.base, narrow.base, wide.mask);
}

function networkOf(text: string): Network {
  const [address = '', bits = ''] = text.split('/');
  const base = parseIp(address) as IpBytes;
  return { kind: 'network', base, mask: maskOf(Number(bits), base.length) };
}
