import { createRequire } from 'node:module';
import { type BatchCalls, batchCalls, noBatchCalls } from './native-batch.ts';
import { datagramCalls, type OpenDatagram } from './native-datagram.ts';
import { type IoCalls, ioCalls, noIoCalls } from './native-io.ts';
import { type ListenCalls, listenCalls, noListenCalls } from './native-listen.ts';
import { type NameCalls, nameCalls, noNameCalls } from './native-names.ts';
import { noTlsCalls, type TlsCalls, tlsCalls } from './native-tls.ts';
import { noProcessCalls, type ProcessCalls, processCalls } from './native-process.ts';
import {
  type CredentialCalls,
  credentialCalls,
  type HangUpCalls,
  hangUpCalls,
  noCredentialCalls,
  noHangUpCalls,
  noOptionCalls,
  type OptionCalls,
  optionCalls,
} from './native-sockets.ts';

/** Calls that are there together or not at all; each theme has a fallback of its own. */
export const NATIVE_THEMES = [
  'credentials',
  'hangUp',
  'options',
  'io',
  'names',
  'process',
  'datagram',
  'listen',
  'batch',
  'tls',
] as const;
export type NativeTheme = (typeof NATIVE_THEMES)[number];

/**
 * System calls that Node has no API for. Every member works without the library too, with null or "no" for an answer,
 * so callers must treat "unknown" as "not trusted".
 */
export interface Native extends CredentialCalls, HangUpCalls, OptionCalls, IoCalls, NameCalls {
  /**
   * Why a theme is not to be had: its fallback stands in. All of them where the library could not load or the platform is
   * not Linux; one where the C library lacks a function that it needs.
   */
  readonly missing: ReadonlyMap<NativeTheme, string>;
  /** About the process itself. */
  readonly process: ProcessCalls;
  /** To the system's log and to systemd; null without the library. */
  readonly datagram: OpenDatagram;
  /** About listening sockets. */
  readonly listen: ListenCalls;
  /** Many reads, or writes, at once. */
  readonly batch: BatchCalls;
  /** TLS on a connection's own socket. */
  readonly tls: TlsCalls;
}

type Koffi = typeof import('koffi');

function requireKoffi(): Koffi {
  return createRequire(import.meta.url)('koffi') as Koffi;
}

/**
 * Opens the native calls, once, at start. Never throws: a machine without a prebuilt library (or with another
 * system than Linux) gets a {@link Native} that answers null. The parameters exist for tests.
 */
export function openNative(
  load: () => Koffi = requireKoffi,
  platform: NodeJS.Platform = process.platform,
): Native {
  const library = openLibrary(load, platform);
  const missing = new Map<NativeTheme, string>();
  const theme = <T>(
    name: NativeTheme,
    calls: (libc: ReturnType<Koffi['load']>, koffi: Koffi) => T,
    fallback: T,
  ): T => {
    try {
      if ('reason' in library) throw new Error(library.reason);
      return calls(library.libc, library.koffi);
    } catch (error) {
      missing.set(name, reasonOf(error));
      return fallback;
    }
  };
  const { peerCredentials } = theme('credentials', credentialCalls, noCredentialCalls);
  const { hasPeerLeft } = theme('hangUp', hangUpCalls, noHangUpCalls);
  const { setOption, setFdOption } = theme('options', optionCalls, noOptionCalls);
  const io = theme('io', ioCalls, noIoCalls);
  const { groupId, userName, userIds } = theme('names', nameCalls, noNameCalls);
  return {
    missing,
    peerCredentials,
    hasPeerLeft,
    setOption,
    setFdOption,
    ...io,
    groupId,
    userName,
    userIds,
    process: theme('process', processCalls, noProcessCalls),
    datagram: theme<OpenDatagram>('datagram', datagramCalls, () => null),
    listen: theme('listen', listenCalls, noListenCalls),
    batch: theme('batch', batchCalls, noBatchCalls),
    tls: theme('tls', tlsCalls, noTlsCalls),
  };
}

function openLibrary(
  load: () => Koffi,
  platform: NodeJS.Platform,
): { readonly koffi: Koffi; readonly libc: ReturnType<Koffi['load']> } | { readonly reason: string } {
  // Option numbers and structure layouts are Linux's.
  if (platform !== 'linux') return { reason: `not supported on ${platform}` };
  try {
    const koffi = load();
    return { koffi, libc: koffi.load(null) };
  } catch (error) {
    return { reason: reasonOf(error) };
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
