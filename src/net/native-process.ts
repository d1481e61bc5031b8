/** Calls about the process itself. Without the library they answer "no", or do nothing. */
export interface ProcessCalls {
  /**
   * No core dumps from here on, and no debugger or `/proc/PID/mem` for others than root: memory holds passwords.
   * To be called again after a change of user, which resets it. False when that could not be had.
   */
  forbidDumps(): boolean;
  /** Ends the process at once: Node's own end waits for system calls that its threads are in. */
  exit(code: number): void;
}

type Koffi = typeof import('koffi');

const PR_GET_DUMPABLE = 3;
const PR_SET_DUMPABLE = 4;

export const noProcessCalls: ProcessCalls = { forbidDumps: () => false, exit: () => {} };

/** Linux's, through a library that `openNative` has loaded. Throws where it is missing. */
export function processCalls(libc: ReturnType<Koffi['load']>): ProcessCalls {
  const prctl = libc.func('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)');
  const exit = libc.func('void _exit(int)');
  return {
    exit: (code) => void exit(code),
    forbidDumps() {
      prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
      return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) === 0;
    },
  };
}
