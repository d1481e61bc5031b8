import koffi from 'koffi';

const recv = koffi.load(null).func('int recv(int, void *, size_t, int)');
/** MSG_PEEK and MSG_DONTWAIT. */
const PEEK = 0x2 | 0x40;
const one = Buffer.alloc(1);

/** Whether the kernel has bytes for a socket that nobody has read, or its peer has ended. */
export function hasUnread(fd: number): boolean {
  return (recv(fd, one, 1, PEEK) as number) >= 0;
}
