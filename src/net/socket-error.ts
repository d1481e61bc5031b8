import { constants } from 'node:os';
import { getSystemErrorMap, getSystemErrorName } from 'node:util';

/** As Node makes the errors of its sockets: `read ECONNRESET`. `errno` as in errno.h. */
export function socketError(syscall: string, errno: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(-errno);
  return Object.assign(new Error(`${syscall} ${code}`), { errno: -errno, code, syscall });
}

/** Whether the negative errno of a write says that the peer has closed or reset the connection: it may have spoken before. */
export function isPeerGone(errno: number): boolean {
  return errno === -constants.errno.EPIPE || errno === -constants.errno.ECONNRESET;
}

/** The system's words for an error code, for log lines: `address already in use`. */
export function systemErrorText(error: NodeJS.ErrnoException): string {
  const known = error.errno === undefined ? undefined : getSystemErrorMap().get(error.errno);
  return known === undefined ? error.message : known[1];
}
