/** What the user database knows about a system user. */
export interface UserIds {
  readonly uid: number;
  readonly gid: number;
}

/** The system's users and groups. Without the library nobody is known. */
export interface NameCalls {
  /** The group database's id of `name`; null when there is no such group. */
  groupId(name: string): number | null;
  /** The user database's name of `uid`; null when there is no such user. */
  userName(uid: number): string | null;
  /** The user database's ids of `name`; null when there is no such user. */
  userIds(name: string): UserIds | null;
}

type Koffi = typeof import('koffi');

export const noNameCalls: NameCalls = { groupId: () => null, userName: () => null, userIds: () => null };

/** Linux's, through a library that `openNative` has loaded. Throws where one of them is missing. */
export function nameCalls(libc: ReturnType<Koffi['load']>, koffi: Koffi): NameCalls {
  const getgrnam = libc.func('void *getgrnam(const char *)');
  const getpwuid = libc.func('void *getpwuid(uint32_t)');
  const getpwnam = libc.func('void *getpwnam(const char *)');
  const group = koffi.struct({ name: 'void *', password: 'void *', gid: 'uint32_t' });
  const user = koffi.struct({ name: 'const char *', password: 'void *', uid: 'uint32_t', gid: 'uint32_t' });
  const field = (found: unknown, shape: typeof group, name: string): unknown => {
    const entry: unknown = found === null ? null : koffi.decode(found, shape);
    return typeof entry === 'object' && entry !== null ? Reflect.get(entry, name) : null;
  };
  return {
    groupId(name) {
      const gid = field(getgrnam(name), group, 'gid');
      return typeof gid === 'number' ? gid : null;
    },
    userName(uid) {
      const name = field(getpwuid(uid), user, 'name');
      return typeof name === 'string' && name !== '' ? name : null;
    },
    userIds(name) {
      const found: unknown = getpwnam(name);
      const [uid, gid] = [field(found, user, 'uid'), field(found, user, 'gid')];
      return typeof uid === 'number' && typeof gid === 'number' ? { uid, gid } : null;
    },
  };
}
