import type { ListenerInfo } from './listening-socket.ts';
import { displaySocketPath, type SocketFileIdentity } from './unix-socket.ts';

/**
 * How to bind one listener: a TCP address, or a unix socket with the permissions of its file. With `replaces` it takes the
 * place of another process's in one step, so that there is always one to connect to. `before` is what may go for it: that
 * process's, or what a dead one has left; anything else there means that the path is taken. One that was `passed` is open
 * already; it stays whoever's it is, and its descriptor is ours. `port` is told of a unix socket without a number.
 */
export type ListenTarget =
  | { readonly kind: 'tcp'; readonly ip: string; readonly port: number; readonly reusePort: boolean }
  | {
      readonly kind: 'unix';
      readonly path: string;
      readonly port: number;
      readonly mode: number;
      readonly gid: number | null;
      readonly replaces: boolean;
      readonly before: SocketFileIdentity | null;
    }
  | { readonly kind: 'passed'; readonly fd: number; readonly port: number };

/** What is known of it before it is bound. */
export function firstInfo(target: ListenTarget): ListenerInfo {
  switch (target.kind) {
    case 'tcp':
      return { kind: 'tcp', address: target.ip, port: target.port };
    case 'unix':
      return { kind: 'unix', address: displaySocketPath(target.path), port: target.port };
    case 'passed':
      return { kind: 'unix', address: `descriptor ${target.fd}`, port: target.port };
  }
}
