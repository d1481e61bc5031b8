import { getSystemErrorName } from 'node:util';

/** As Node makes the errors of its sockets: `read ECONNRESET`. `errno` as in errno.h. */
export function socketError(syscall: string, errno: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(-errno);
  return Object.assign(new Error(`${syscall} ${code}`), { errno: -errno, code, syscall });
}
