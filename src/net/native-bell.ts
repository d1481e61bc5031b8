type Koffi = typeof import('koffi');

/** What one thread wakes another with. Without the library there is none. */
export interface BellCalls {
  /**
   * A descriptor to be watched with `Interest.read | Interest.edge`, which tells of each {@link ringBell}; nobody reads
   * it. Null: there is none to be had.
   */
  newBell(): number | null;
  ringBell(fd: number): void;
}

const EFD_CLOEXEC_NONBLOCK = 0o2000000 | 0o4000;

export const noBellCalls: BellCalls = { newBell: () => null, ringBell: () => {} };

/** Linux's eventfd(2), through a library that `openNative` has loaded. Throws where it is missing. */
export function bellCalls(libc: ReturnType<Koffi['load']>): BellCalls {
  const eventfd = libc.func('int eventfd(unsigned int, int)');
  const eventfdWrite = libc.func('int eventfd_write(int, uint64_t)');
  return {
    newBell() {
      const fd: number = eventfd(0, EFD_CLOEXEC_NONBLOCK);
      return fd < 0 ? null : fd;
    },
    // The count that it adds to would be full after some centuries.
    ringBell: (fd) => void eventfdWrite(fd, 1),
  };
}
