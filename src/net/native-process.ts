/** What the user database knows about a system user. */
export interface UserIds {
  readonly uid: number;
  readonly gid: number;
}

/** Calls about the process itself. Without the library they answer "no". */
export interface ProcessCalls {
  /**
   * No core dumps from here on, and no debugger or `/proc/PID/mem` for others than root: memory holds passwords.
   * To be called again after a change of user, which resets it. False when that could not be had.
   */
  forbidDumps(): boolean;
  /** The user database's ids of `name`; null when there is no such user or without the library. */
  userIds(name: string): UserIds | null;
}

type Koffi = typeof import('koffi');

const PR_GET_DUMPABLE = 3;
const PR_SET_DUMPABLE = 4;

export const noProcessCalls: ProcessCalls = { forbidDumps: () => false, userIds: () => null };

/** Linux's, through a library that `openNative` has loaded. */
export function processCalls(koffi: Koffi, libc: ReturnType<Koffi['load']>): ProcessCalls {
  const prctl = libc.func('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)');
  const getpwnam = libc.func('void *getpwnam(const char *)');
  const passwd = koffi.struct({ name: 'void *', password: 'void *', uid: 'uint32_t', gid: 'uint32_t' });
  return {
    forbidDumps() {
      prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
      return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) === 0;
    },
    userIds(name) {
      const found: unknown = getpwnam(name);
      if (found === null) return null;
      const entry: unknown = koffi.decode(found, passwd);
      if (typeof entry !== 'object' || entry === null) return null;
      const uid: unknown = Reflect.get(entry, 'uid');
      const gid: unknown = Reflect.get(entry, 'gid');
      return typeof uid === 'number' && typeof gid === 'number' ? { uid, gid } : null;
    },
  };
}
