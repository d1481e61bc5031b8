import { isMainThread } from 'node:worker_threads';

type Koffi = typeof import('koffi');
type Library = ReturnType<Koffi['load']>;

/** Wakes the event loop when a descriptor is readable. */
export interface Watcher {
  /** Has `callback` called in every turn of the event loop in which it may be. Once. */
  begin(callback: () => void): void;
  /** Whether it keeps the loop alive; it doesn't at first. */
  ref(): void;
  unref(): void;
}

/** What happens when this thread ends, however it does: Node does that in the thread itself, behind its last JavaScript. */
export interface ThreadEnd {
  /** Has the descriptor closed then. Of one that is not to be already. */
  closeAtEnd(fd: number): void;
  /** Not that one, or not any more. */
  spareAtEnd(fd: number): void;
}

/** libuv's `uv_handle_type`, `uv_poll_event` and `uv_run_mode`. */
const UV_POLL = 8;
const UV_READABLE = 1;
const UV_RUN_NOWAIT = 2;
/** Of a handle's flags: it keeps the loop alive, and it is the loop's own business. */
const UV_HANDLE_REF = 0x8;
const UV_HANDLE_INTERNAL = 0x10;

/** Of a worker; null in the main thread, whose end is the process's, and where Node's calls for it are missing. */
export function threadEnd(libc: Library, koffi: Koffi): ThreadEnd | null {
  if (isMainThread) return null;
  try {
    const hooks = endHooks(libc, koffi);
    // It takes its only argument as a whole number, out of the same register as a pointer.
    const close = hooks.find('close');
    // Bound, not wrapped: a thread is ended where a function of ours begins, which must not be between this and the
    // call ahead of it.
    return { closeAtEnd: hooks.add.bind(null, close), spareAtEnd: hooks.remove.bind(null, close) };
  } catch {
    return null;
  }
}

/** The library's own watcher makes an object for JavaScript at each wake-up, and must not be used in a worker. */
export function plainWatcher(koffi: Koffi, fd: number): Watcher {
  let handle: ReturnType<Koffi['node']['poll']> | null = null;
  return {
    begin(callback) {
      // Node runs the next tick's work behind its own callbacks, of which the watcher's is none.
      handle = koffi.node.poll(fd, () => setImmediate(callback));
      handle.unref();
    },
    ref: () => handle?.ref(),
    unref: () => handle?.unref(),
  };
}

/**
 * A `uv_poll_t` whose callback does nothing: that the loop wakes up is enough, for an immediate that keeps nothing
 * awake is due in each turn. Null where the loop cannot be reached so, or, in a worker, could not be closed.
 */
export function quietWatcher(koffi: Koffi, libc: Library, fd: number): Watcher | null {
  try {
    const uv = uvCalls(libc);
    const getLoop = libc.func('int napi_get_uv_event_loop(void *, _Out_ void **)');
    const loop: [bigint | null] = [null];
    if (getLoop(koffi.node.env, loop) !== 0 || loop[0] === null) return null;
    const flagsAt = isMainThread ? -1 : findFlags(uv, fd);
    if (flagsAt === null) return null;
    const handle = uv.startPoll(loop[0], fd);
    if (handle === null) return null;
    uv.unref(handle);
    if (flagsAt >= 0) {
      uv.setBits(handle, flagsAt, UV_HANDLE_INTERNAL);
      const hooks = endHooks(libc, koffi);
      hooks.add(hooks.find('uv_poll_stop'), handle);
    }
    return {
      begin(callback) {
        const turn = () => {
          setImmediate(turn).unref();
          callback();
        };
        setImmediate(turn).unref();
      },
      ref: () => uv.ref(handle),
      unref: () => uv.unref(handle),
    };
  } catch {
    return null;
  }
}

/**
 * Where a handle has its flags, one of which has a loop close over the handle: Node closes that of a worker, and ends the
 * process when it cannot. Nobody else gets at the flags, so this is tried on a loop that is nobody's, with a poll handle
 * on `fd`; null where one thing is not as it should be.
 */
function findFlags(uv: UvCalls, fd: number): number | null {
  const loop = uv.newLoop();
  if (loop === null) return null;
  const handle = uv.startPoll(loop, fd);
  if (handle === null) {
    uv.closeLoop(loop);
    return null;
  }
  const counted = uv.bytesOf(handle);
  uv.unref(handle);
  const uncounted = uv.bytesOf(handle);
  const differing = [...counted.keys()].filter((at) => counted[at] !== uncounted[at]);
  const at = differing[0];
  let isFound = false;
  if (
    at !== undefined &&
    differing.length === 1 &&
    counted[at] === ((uncounted[at] as number) | UV_HANDLE_REF) &&
    !uv.closeLoop(loop)
  ) {
    uv.setBits(handle, at, UV_HANDLE_INTERNAL);
    isFound = uv.closeLoop(loop);
    if (!isFound) uv.setBits(handle, at, 0, UV_HANDLE_INTERNAL);
  }
  if (!isFound) uv.giveUp(loop, handle);
  return isFound ? (at as number) : null;
}

type UvCalls = ReturnType<typeof uvCalls>;

/** Throws where one of them is missing. What they allocate is never freed: loops refer to it for as long as they are. */
function uvCalls(libc: Library) {
  const calloc = libc.func('void *calloc(size_t, size_t)');
  const copyOut = libc.func('void *memcpy(void *, uintptr_t, size_t)');
  const copyIn = libc.func('void *memcpy(uintptr_t, const void *, size_t)');
  const loopSize = libc.func('size_t uv_loop_size()');
  const loopInit = libc.func('int uv_loop_init(void *)');
  const loopClose = libc.func('int uv_loop_close(void *)');
  const run = libc.func('int uv_run(void *, int)');
  const close = libc.func('void uv_close(void *, void *)');
  const sizeOf = libc.func('size_t uv_handle_size(int)');
  const init = libc.func('int uv_poll_init(void *, void *, int)');
  const start = libc.func('int uv_poll_start(void *, int, void *)');
  const ref = libc.func('void uv_ref(void *)');
  const unref = libc.func('void uv_unref(void *)');
  // It takes what the loop passes and looks at the pointer's value alone.
  const nothing: unknown = libc.func('void *dlsym(void *, const char *)')(null, 'labs');
  if (nothing === null) throw new Error('no function that does nothing');
  const bytes = Number(sizeOf(UV_POLL));
  return {
    ref: (handle: bigint) => void ref(handle),
    unref: (handle: bigint) => void unref(handle),
    newLoop(): bigint | null {
      const loop = calloc(1, loopSize()) as bigint;
      return loopInit(loop) === 0 ? loop : null;
    },
    /** False when something in it is still open. */
    closeLoop: (loop: bigint): boolean => loopClose(loop) === 0,
    /** An active handle; null when the loop refuses. */
    startPoll(loop: bigint, fd: number): bigint | null {
      const handle = calloc(1, bytes) as bigint;
      return init(loop, handle, fd) === 0 && start(handle, UV_READABLE, nothing) === 0 ? handle : null;
    },
    /** Closes both as libuv has it. */
    giveUp(loop: bigint, handle: bigint): void {
      close(handle, null);
      run(loop, UV_RUN_NOWAIT);
      loopClose(loop);
    },
    /** A copy of what the handle consists of. */
    bytesOf(handle: bigint): Uint8Array {
      const copy = new Uint8Array(bytes);
      copyOut(copy, handle, bytes);
      return copy;
    },
    setBits(handle: bigint, at: number, on: number, off = 0): void {
      const byte = new Uint8Array(1);
      const address = handle + BigInt(at);
      copyOut(byte, address, 1);
      byte[0] = ((byte[0] as number) & ~off) | on;
      copyIn(address, byte, 1);
    },
  };
}

type EndHook = (call: bigint, argument: bigint | number) => void;

/** Calls of C functions with one argument, the last one first, when this thread's Node ends. Throws where there are none. */
function endHooks(libc: Library, koffi: Koffi) {
  const symbol = libc.func('void *dlsym(void *, const char *)');
  const add = libc.func('int napi_add_env_cleanup_hook(void *, void *, uintptr_t)');
  const remove = libc.func('int napi_remove_env_cleanup_hook(void *, void *, uintptr_t)');
  const { env } = koffi.node;
  return {
    find(name: string): bigint {
      const found: unknown = symbol(null, name);
      if (typeof found !== 'bigint') throw new Error(`no function ${name}`);
      return found;
    },
    /** Once at a time with the same argument. */
    add: add.bind(null, env) as EndHook,
    remove: remove.bind(null, env) as EndHook,
  };
}
