import { isIPv4, isIPv6 } from 'node:net';

/** An address as its bytes: 4, or 16 of IPv6. An IPv4 address in IPv6's clothes (`::ffff:…`) is the IPv4 address. */
export type IpBytes = readonly number[];

/** Reads an address; null for what is none, or has a zone. */
export function parseIp(text: string): IpBytes | null {
  if (isIPv4(text)) return text.split('.').map(Number);
  if (!isIPv6(text) || text.includes('%')) return null;
  const [head = '', tail] = text.split('::');
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  const middle = new Array<number>(16 - left.length - right.length).fill(0);
  return unmapped([...left, ...middle, ...right]);
}

/** A mask of `bits` ones for an address of `bytes` bytes. */
export function maskOf(bits: number, bytes: number): IpBytes {
  return Array.from({ length: bytes }, (_, i) => {
    const ones = Math.min(8, Math.max(0, bits - i * 8));
    return (0xff << (8 - ones)) & 0xff;
  });
}

/** Whether two addresses are the same where `mask` has ones; never those of different families. */
export function sameNetwork(a: IpBytes, b: IpBytes, mask: IpBytes): boolean {
  if (a.length !== b.length || a.length !== mask.length) return false;
  return mask.every((ones, i) => ((a[i] ?? 0) & ones) === ((b[i] ?? 0) & ones));
}

function groups(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (group.includes('.')) return group.split('.').map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

function unmapped(bytes: number[]): IpBytes {
  const isMapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  return isMapped ? bytes.slice(12) : bytes;
}
