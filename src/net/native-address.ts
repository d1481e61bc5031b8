import { endianness } from 'node:os';

/** An end of a TCP connection, written as Node writes addresses: `127.0.0.1`, `::1`, `fe80::1%eth0`. */
export interface SocketName {
  readonly ip: string;
  readonly port: number;
}

/** What a call that fills in an address came to. */
export interface Named {
  /** What the call returned. */
  readonly result: number;
  /** Null when it has failed, and for sockets of other kinds. */
  readonly name: SocketName | null;
}

type Koffi = typeof import('koffi');

const AF_INET = 2;
const AF_INET6 = 10;
/** More than `struct sockaddr_un`, the longest of those that there are here. */
const NAME_BYTES = 128;
/** INET6_ADDRSTRLEN and IF_NAMESIZE. */
const TEXT_BYTES = 46;
const INTERFACE_BYTES = 16;

/**
 * Reads addresses out of calls like getsockname(2), through a library that `openNative` has loaded. Throws where a
 * function is missing. `call` gets memory for an address, and for its length.
 */
export function socketNames(
  libc: ReturnType<Koffi['load']>,
): (call: (name: Buffer, length: Uint32Array) => number) => Named {
  const inetNtop = libc.func('void *inet_ntop(int, const void *, void *, uint32_t)');
  const interfaceName = libc.func('void *if_indextoname(uint32_t, void *)');
  const name = Buffer.allocUnsafeSlow(NAME_BYTES);
  const length = new Uint32Array(1);
  const family = new Uint16Array(name.buffer, name.byteOffset, 1);
  const isLittle = endianness() === 'LE';
  /** Of the last IPv4 address: mostly it is the next one's, too, and the same text is found sooner where it is a key. */
  let lastIp4 = 0;
  let lastText = '0.0.0.0';

  /** `struct sockaddr_in6`: family, port, flow, 16 bytes of address, scope. */
  const ip6 = (): string => {
    const text = Buffer.alloc(TEXT_BYTES);
    inetNtop(AF_INET6, name.subarray(8, 24), text, text.length);
    const ip = textOf(text);
    const scope = isLittle ? name.readUInt32LE(24) : name.readUInt32BE(24);
    const isLinkLocal = name[8] === 0xfe && ((name[9] as number) & 0xc0) === 0x80;
    if (!isLinkLocal || scope === 0) return ip;
    const interfaceText = Buffer.alloc(INTERFACE_BYTES);
    return interfaceName(scope, interfaceText) === null ? ip : `${ip}%${textOf(interfaceText)}`;
  };

  return (call) => {
    length[0] = NAME_BYTES;
    family[0] = 0;
    const result = call(name, length);
    if (result < 0) return { result, name: null };
    switch (family[0] as number) {
      case AF_INET:
        // `struct sockaddr_in`: family, port, 4 bytes of address.
        if (name.readUInt32BE(4) !== lastIp4) {
          lastIp4 = name.readUInt32BE(4);
          lastText = `${name[4]}.${name[5]}.${name[6]}.${name[7]}`;
        }
        return { result, name: { ip: lastText, port: name.readUInt16BE(2) } };
      case AF_INET6:
        return { result, name: { ip: ip6(), port: name.readUInt16BE(2) } };
      default:
        return { result, name: null };
    }
  };
}

/** Up to its NUL. */
function textOf(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('latin1', 0, end < 0 ? bytes.length : end);
}
