import { constants } from 'node:os';
import { isMainThread } from 'node:worker_threads';
import { type SocketName, socketNames } from './native-address.ts';
import { type BellCalls, bellCalls, noBellCalls } from './native-bell.ts';
import { addressOf } from './pinned.ts';
import { plainWatcher, quietWatcher, type ThreadEnd, threadEnd, type Watcher } from './native-watcher.ts';

/**
 * Reading and writing past Node's streams. Without the library: no set, nothing read, nothing taken. The end of the main
 * thread is the process's: there is nothing to close there.
 */
export interface IoCalls extends ThreadEnd, BellCalls {
  /** A new, empty set, which lasts as long as its thread; null when there is none to be had. */
  epoll(): EpollSet | null;
  /**
   * recv(2) into `buffer` from its start, without waiting. Returns how many bytes came, 0 at the peer's end, -1
   * when there is nothing yet, and less when the connection has failed: the negative errno.
   */
  receive(fd: number, buffer: Buffer): number;
  /**
   * send(2) without waiting: `bytes[start, end)`, copied by the kernel before the call returns. Returns how many
   * bytes it took, -1 when it has no room, and less when the connection has failed: the negative errno.
   * `fs.writeSync` does the same at three times the cost, and throws when the peer is slow.
   */
  write(fd: number, bytes: Buffer, start: number, end: number): number;
  /** Sends FIN behind what was written. */
  shutdownWrite(fd: number): void;
  /** close(2), without a word about how it went: the number is free in any case. The thread's end spares it. */
  closeFd(fd: number): void;
  /** Where a TCP socket is bound; null for others. */
  localName(fd: number): SocketName | null;
  /** sched_yield(2): has this thread's processor do for others first what they are ready to do. */
  yieldProcessor(): void;
}

/** What to tell of a descriptor; a failed connection is told of always. `edge`: once for each time that there is more. */
export const Interest = { read: 0x1, write: 0x4, edge: 1 << 31 } as const;

/** An epoll set, level-triggered but for `Interest.edge`. Its `…At` methods speak of what the last `wait` has fetched. */
export interface EpollSet {
  /**
   * `interest` is made of {@link Interest}; `token` (32 bits) comes back with each event, so that one which was meant for
   * an earlier owner of the number can be told. False when the kernel refuses.
   */
  add(fd: number, interest: number, token: number): boolean;
  /** Of a descriptor that is in the set. */
  change(fd: number, interest: number, token: number): void;
  remove(fd: number): void;
  /** Fetches what is ready, without waiting; returns how many, or less than 1. */
  wait(): number;
  fdAt(index: number): number;
  tokenAt(index: number): number;
  isReadableAt(index: number): boolean;
  /** There is room for more bytes, and somebody wanted to know. */
  isWritableAt(index: number): boolean;
  /** The peer has finished sending, or the connection has failed; bytes may have come before. */
  isHungUpAt(index: number): boolean;
  /** `callback` is called in every turn of the event loop in which something is ready, or may be. One per set. */
  onReady(callback: () => void): void;
  /** Whether waiting for the set keeps the process alive; it doesn't at first. */
  keepAlive(on: boolean): void;
}

type Koffi = typeof import('koffi');
type KoffiFunction = ReturnType<ReturnType<Koffi['load']>['func']>;

/** MSG_DONTWAIT and MSG_NOSIGNAL. */
const NO_WAIT_NO_SIGNAL = 0x40 | 0x4000;
const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
const EPOLLRDHUP = 0x2000;
/** EPOLLERR, EPOLLHUP and EPOLLRDHUP. */
const EPOLL_GONE = 0x8 | 0x10 | EPOLLRDHUP;
/** How many ready descriptors one `wait` fetches at most. */
const EVENTS_PER_WAIT = 256;

const SHUT_WR = 1;

export const noIoCalls: IoCalls = {
  epoll: () => null,
  receive: () => -1,
  write: () => -1,
  shutdownWrite: () => {},
  closeFd: () => {},
  closeAtEnd: () => {},
  spareAtEnd: () => {},
  localName: () => null,
  yieldProcessor: () => {},
  ...noBellCalls,
};

/** Linux's, through a library that `openNative` has loaded. Throws where one of them is missing. */
export function ioCalls(libc: ReturnType<Koffi['load']>, koffi: Koffi): IoCalls {
  const send = libc.func('int send(int, const void *, size_t, int)');
  const sendAt = libc.func('int send(int, uintptr_t, size_t, int)');
  const recv = libc.func('int recv(int, void *, size_t, int)');
  const recvAt = libc.func('int recv(int, uintptr_t, size_t, int)');
  const shutdown = libc.func('int shutdown(int, int)');
  const close = libc.func('int close(int)');
  const schedYield = libc.func('int sched_yield()');
  const getsockname = libc.func('int getsockname(int, void *, void *)');
  const { EAGAIN, EINTR, ENOBUFS } = constants.errno;
  const nameOf = socketNames(libc);
  /** Right behind a call that has answered -1. */
  const failure = (): number => {
    const errno = koffi.errno();
    return errno === EAGAIN || errno === EINTR || errno === ENOBUFS ? -1 : -errno;
  };
  const end = threadEnd(libc, koffi);
  const epollCalls: EpollCalls = {
    koffi,
    libc,
    end,
    close,
    create: libc.func('int epoll_create1(int)'),
    control: libc.func('int epoll_ctl(int, int, int, void *)'),
    wait: libc.func('int epoll_wait(int, uintptr_t, int, int)'),
  };
  return {
    epoll: () => epollSet(epollCalls),
    receive(fd, buffer) {
      const address = addressOf(koffi, buffer);
      const count: number =
        address === 0
          ? recv(fd, buffer, buffer.length, NO_WAIT_NO_SIGNAL)
          : recvAt(fd, address, buffer.length, NO_WAIT_NO_SIGNAL);
      return count >= 0 ? count : failure();
    },
    write(fd, bytes, start, end) {
      const address = addressOf(koffi, bytes);
      const count: number =
        address === 0
          ? send(fd, start === 0 ? bytes : bytes.subarray(start), end - start, NO_WAIT_NO_SIGNAL)
          : sendAt(fd, address + start, end - start, NO_WAIT_NO_SIGNAL);
      return count >= 0 ? count : failure();
    },
    shutdownWrite(fd) {
      shutdown(fd, SHUT_WR);
    },
    closeFd(fd) {
      // With no call of a function of ours in between: a thread is ended nowhere else.
      end?.spareAtEnd(fd);
      close(fd);
    },
    closeAtEnd: end === null ? noIoCalls.closeAtEnd : end.closeAtEnd,
    spareAtEnd: end === null ? noIoCalls.spareAtEnd : end.spareAtEnd,
    localName: (fd) => nameOf((name, length) => getsockname(fd, name, length) as number).name,
    yieldProcessor: () => void schedYield(),
    ...bellCalls(libc),
  };
}

/** What an epoll set is made by. */
interface EpollCalls {
  readonly koffi: Koffi;
  readonly libc: ReturnType<Koffi['load']>;
  readonly end: ThreadEnd | null;
  readonly close: KoffiFunction;
  readonly create: KoffiFunction;
  readonly control: KoffiFunction;
  readonly wait: KoffiFunction;
}

function watcherOf({ koffi, libc, end }: EpollCalls, set: number): Watcher | null {
  if (isMainThread) return quietWatcher(koffi, libc, set) ?? plainWatcher(koffi, set);
  // A worker may be ended while it is called back, and with the library's watcher that ends the process.
  return end === null ? null : quietWatcher(koffi, libc, set);
}

function epollSet(calls: EpollCalls): EpollSet | null {
  const { koffi, control, wait } = calls;
  const set: unknown = calls.create(EPOLL_CLOEXEC);
  if (typeof set !== 'number' || set < 0) return null;
  // Ahead of the watcher, which stops first then.
  calls.end?.closeAtEnd(set);
  const watcher = watcherOf(calls, set);
  if (watcher === null) {
    calls.end?.spareAtEnd(set);
    calls.close(set);
    return null;
  }
  // struct epoll_event in 32-bit words: events, padding (it is packed on x86-64), and 64 bits of ours.
  const words = process.arch === 'x64' ? 3 : 4;
  const fdWord = words - 2;
  const wanted = new Int32Array(words);
  const ask = (operation: number, fd: number, interest: number, token: number): boolean => {
    wanted[0] = interest | ((interest & Interest.read) === 0 ? 0 : EPOLLRDHUP);
    wanted[fdWord] = fd;
    wanted[fdWord + 1] = token;
    return control(set, operation, fd, wanted) === 0;
  };
  const ready = new Int32Array(words * EVENTS_PER_WAIT);
  // Too large to lie on the heap, where it could move.
  const readyAt = Number(koffi.address(ready));
  return {
    add: (fd, interest, token) => ask(EPOLL_CTL_ADD, fd, interest, token),
    change(fd, interest, token) {
      ask(EPOLL_CTL_MOD, fd, interest, token);
    },
    remove(fd) {
      control(set, EPOLL_CTL_DEL, fd, wanted);
    },
    wait: () => wait(set, readyAt, EVENTS_PER_WAIT, 0) as number,
    fdAt: (index) => ready[index * words + fdWord] as number,
    tokenAt: (index) => ready[index * words + fdWord + 1] as number,
    isReadableAt: (index) => ((ready[index * words] as number) & Interest.read) !== 0,
    isWritableAt: (index) => ((ready[index * words] as number) & Interest.write) !== 0,
    isHungUpAt: (index) => ((ready[index * words] as number) & EPOLL_GONE) !== 0,
    onReady(callback) {
      watcher.begin(callback);
    },
    keepAlive(on) {
      if (on) watcher.ref();
      else watcher.unref();
    },
  };
}
