import { lookup } from 'node:dns/promises';
import { existsSync, fstatSync } from 'node:fs';
import { dirname } from 'node:path';
import { createServer, isIP, type Server, type ServerOpts } from 'node:net';
import type { Logger } from '../base/log.ts';
import { unlessAborted } from '../base/unless-aborted.ts';
import { formatHostPort } from './address.ts';
import {
  type ListenContext,
  type ListenerFd,
  ListeningSocket,
  type ListenerInfo,
  RETIRE_MS,
  type Schedule,
} from './listening-socket.ts';
import { type Native, openNative } from './native.ts';
import type { ConnSocket } from './raw-socket.ts';
import { systemErrorText } from './socket-error.ts';
import {
  checkUnixSocketFree,
  ListenError,
  resolveGroup,
  type SocketFileIdentity,
  unixSocketPath,
} from './unix-socket.ts';

/**
 * Where to listen. Source: PgBouncer's listen_addr, listen_port, listen_backlog, so_reuseport, unix_socket_dir,
 * unix_socket_mode, unix_socket_group.
 */
export interface ListenOptions {
  /** Addresses, names, or `*` for every address of both families; empty for no TCP. */
  readonly listenAddr: readonly string[];
  /** 0 lets the system choose one port, which all TCP addresses and the unix socket's name then share. */
  readonly listenPort: number;
  /** Empty for no unix socket; `@dir` for the abstract namespace. */
  readonly unixSocketDir: string;
  readonly unixSocketMode: number;
  /** Group name or number; empty keeps the process's group. */
  readonly unixSocketGroup: string;
  readonly backlog: number;
  readonly reusePort: boolean;
  /** PgBouncer's `tcp_defer_accept`: see {@link Listeners.defer}. Off when left out. */
  readonly deferAccept?: boolean;
  /** The unix socket takes the place of this one, whose process still runs, in one step, and TCP is shared with it. */
  readonly replaces?: SocketFileIdentity;
  /**
   * Sockets that are open already, which take the place of all the addresses above. They are ours, to be closed even
   * when opening fails.
   */
  readonly passed?: readonly PassedSocket[];
  /** Aborted when the start is ended: until TCP is bound opening fails then with its reason, whatever is waited for. */
  readonly ended?: AbortSignal;
  /** Soft limit of open files, for a warning when it comes near; left out when unknown. */
  readonly fdLimit?: number;
  /** For the group's name; opened when left out. */
  readonly native?: Native;
  /** Timer of the retry after a failed accept; a real one when left out. */
  readonly schedule?: Schedule;
  /** `net.createServer`, or a test's stand-in. */
  readonly createServer?: (options: ServerOpts) => Server;
}

/** A listening socket that somebody has opened for us. */
export interface PassedSocket {
  readonly fd: number;
  /** What it is called there; empty when it has no name. */
  readonly name: string;
}

/** The open listeners of the process. */
export interface Listeners {
  /** What was really bound: TCP addresses in the order of `listenAddr`, then the unix socket. */
  readonly addresses: readonly ListenerInfo[];
  /** Those that are bound at this moment. */
  bound(): ListenerFd[];
  /**
   * Whether the kernel keeps TCP connections back until they have sent something, or have been silent for about a second.
   * Without native calls it doesn't.
   */
  defer(on: boolean): void;
  /**
   * Stops accepting on TCP; the unix socket and the accepted connections stay, and so do those that the kernel has
   * accepted already, which still arrive. `done` is called when the ports are free: on return, or with so_reuseport
   * a moment later, when nobody can be lost to us who would have found another process there.
   */
  retireTcp(done: () => void): void;
  /** Another process's unix socket stands where ours did; who comes by ours has connected before. */
  isUnixReplaced(): boolean;
  /** Stops accepting everywhere and removes the unix socket's file before it returns. May be called twice. */
  close(): void;
}

const realSchedule: Schedule = (delayMs, run) => {
  const timer = setTimeout(run, delayMs);
  // A suspended listener is no reason to keep a process alive that has nothing else to do.
  timer.unref();
  return () => clearTimeout(timer);
};

/**
 * Binds everything that the options name and hands each accepted socket to `onConnection`, half-open and without
 * Nagle's delay. The callback may run before the promise settles. An address that cannot be bound is a warning as
 * long as another one can.
 *
 * @throws ListenError (the text is the log line) when a name does not resolve, no TCP address could be bound, the
 *   unix socket is in use or cannot be made, or there is nothing to listen on. Nothing stays bound then.
 */
export async function openListeners(
  options: ListenOptions,
  onConnection: (socket: ConnSocket, listener: ListenerInfo) => void,
  log: Logger,
): Promise<Listeners> {
  const passed = options.passed ?? [];
  if (passed.length === 0 && options.listenAddr.length === 0 && options.unixSocketDir === '') {
    throw new ListenError('nothing to listen on: listen_addr and unix_socket_dir are both empty');
  }
  const context: ListenContext = {
    backlog: options.backlog,
    log,
    onConnection,
    schedule: options.schedule ?? realSchedule,
    fdLimit: options.fdLimit ?? Number.POSITIVE_INFINITY,
    createServer: options.createServer ?? createServer,
    native: options.native ?? openNative(),
  };
  // Checked before TCP is bound: with so_reuseport a second start by mistake would else take connections from
  // the running process before it notices.
  let before = options.replaces ?? null;
  if (passed.length === 0 && before === null && options.unixSocketDir !== '' && options.listenPort !== 0) {
    before = await checkUnixSocketFree(unixSocketPath(options.unixSocketDir, options.listenPort));
  }
  const open: ListeningSocket[] = [];
  try {
    if (passed.length > 0) {
      await openPassed(passed, options.listenPort, context, open);
    } else {
      await openNamed(options, before, context, open);
    }
  } catch (error) {
    for (const listener of open) listener.close();
    throw error;
  }
  const defer = (on: boolean): void => {
    for (const listener of open) listener.defer(on);
  };
  defer(options.deferAccept ?? false);
  return {
    defer,
    addresses: open.map((listener) => listener.info),
    bound: () => open.map(({ info, fd }) => ({ info, fd })).filter(({ fd }) => fd >= 0),
    retireTcp: (done) => {
      const tcp = open.filter((listener) => listener.info.kind === 'tcp');
      let left = tcp.length + 1;
      const oneLess = (): void => {
        left--;
        if (left === 0) done();
      };
      for (const listener of tcp) listener.retire(oneLess);
      // Those who have come by a unix socket that nobody finds any more may still wait to be accepted.
      if (open.some((listener) => listener.isReplaced)) context.schedule(RETIRE_MS, oneLess);
      else oneLess();
    },
    isUnixReplaced: () => open.some((listener) => listener.isReplaced),
    close: () => {
      for (const listener of open) listener.close();
    },
  };
}

/** Adds the listeners that the options name to `open`: TCP, then the unix socket. */
async function openNamed(
  options: ListenOptions,
  before: SocketFileIdentity | null,
  context: ListenContext,
  open: ListeningSocket[],
): Promise<void> {
  const { listenPort, unixSocketDir } = options;
  // Names may take long, and while nothing is bound there is nothing to undo.
  const resolving = resolveAll(options.listenAddr);
  const ips = await (options.ended === undefined ? resolving : unlessAborted(options.ended, resolving));
  // First of all, where its name is known: whoever shares a port with others has connections from there on.
  const early =
    unixSocketDir === '' || listenPort === 0 ? null : await openUnix(options, listenPort, before, context);
  let port: number;
  try {
    // The last moment: once a port is shared with others, some of their clients come to us.
    options.ended?.throwIfAborted();
    port = await openTcp(options, ips, context, open);
  } finally {
    if (early !== null) open.push(early);
  }
  const unix = early ?? (unixSocketDir === '' ? null : await openUnix(options, port, before, context));
  if (unix === null) return;
  if (unix !== early) open.push(unix);
  try {
    unix.takePlace();
  } catch (error) {
    throw unixError(error as NodeJS.ErrnoException, unix.display, unixSocketPath(unixSocketDir, port));
  }
  context.log.log('LOG', `listening on ${unix.display}`);
}

/** Adds the TCP listeners to `open`; returns the port they share. */
async function openTcp(
  options: ListenOptions,
  ips: readonly string[],
  context: ListenContext,
  open: ListeningSocket[],
): Promise<number> {
  let port = options.listenPort;
  for (const ip of ips) {
    const listener = new ListeningSocket({ kind: 'tcp', ip, port, reusePort: options.reusePort }, context);
    try {
      await listener.open();
    } catch (error) {
      const text = systemErrorText(error as NodeJS.ErrnoException);
      context.log.log('WARNING', `cannot listen on ${formatHostPort(ip, port)}: ${text}`);
      continue;
    }
    open.push(listener);
    port = listener.info.port;
    context.log.log('LOG', `listening on ${listener.display}`);
  }
  if (options.listenAddr.length > 0 && open.length === 0) {
    throw new ListenError('cannot listen on any address of listen_addr');
  }
  return port;
}

async function openUnix(
  options: ListenOptions,
  port: number,
  found: SocketFileIdentity | null,
  context: ListenContext,
): Promise<ListeningSocket> {
  const path = unixSocketPath(options.unixSocketDir, port);
  const before = options.listenPort === 0 ? await checkUnixSocketFree(path) : found;
  const gid = resolveGroup(options.unixSocketGroup, context.native);
  const listener = new ListeningSocket(
    {
      kind: 'unix',
      path,
      port,
      mode: options.unixSocketMode,
      gid,
      replaces: options.replaces !== undefined,
      before,
    },
    context,
  );
  try {
    await listener.open();
  } catch (error) {
    throw unixError(error as NodeJS.ErrnoException, listener.display, path);
  }
  return listener;
}

function unixError(error: NodeJS.ErrnoException, display: string, path: string): ListenError {
  // Somebody was quicker between our check and the bind.
  if (error.code === 'EADDRINUSE')
    return new ListenError('unix socket is in use, cannot continue', { cause: error });
  // The event loop's library has "permission denied" for this one.
  const isFolderMissing = error.code === 'EACCES' && !existsSync(dirname(path));
  const text = isFolderMissing ? 'no such folder' : systemErrorText(error);
  return new ListenError(`cannot listen on ${display}: ${text}`, { cause: error });
}

/** Adds all of them to `open`. */
async function openPassed(
  passed: readonly PassedSocket[],
  port: number,
  context: ListenContext,
  open: ListeningSocket[],
): Promise<void> {
  // A number that leads elsewhere is Node's own, if anybody's, and not ours to close.
  const sockets = passed.filter(({ fd }) => isSocket(fd));
  for (const { fd } of sockets) open.push(new ListeningSocket({ kind: 'passed', fd, port }, context));
  const other = passed.find((one) => !sockets.includes(one));
  if (other !== undefined) throw new ListenError(`descriptor ${other.fd} was passed and is no socket`);
  for (const [index, { fd, name }] of passed.entries()) {
    const listener = open[index] as ListeningSocket;
    try {
      await listener.open();
    } catch (error) {
      const text = systemErrorText(error as NodeJS.ErrnoException);
      throw new ListenError(`cannot listen on the passed socket ${fd}: ${text}`, { cause: error });
    }
    context.log.log('LOG', `listening on ${listener.display} (passed${name === '' ? '' : ` as ${name}`})`);
  }
}

function isSocket(fd: number): boolean {
  try {
    return fstatSync(fd).isSocket();
  } catch {
    return false;
  }
}

/** The IP addresses behind the entries, in order and each once. */
async function resolveAll(entries: readonly string[]): Promise<string[]> {
  const addresses = new Set<string>();
  for (const entry of entries) {
    if (entry === '*') {
      addresses.add('0.0.0.0').add('::');
    } else if (isIP(entry) !== 0) {
      addresses.add(entry);
    } else {
      for (const address of await resolveName(entry)) addresses.add(address);
    }
  }
  return [...addresses];
}

async function resolveName(name: string): Promise<string[]> {
  try {
    const found = await lookup(name, { all: true });
    return found.map((entry) => entry.address);
  } catch (error) {
    const text = systemErrorText(error as NodeJS.ErrnoException);
    throw new ListenError(`cannot resolve listen_addr "${name}": ${text}`, { cause: error });
  }
}
