/**
 * A TLS setting, or the file that it names, cannot be used. Shape: `setting` is its name in the configuration,
 * `expected` says what would have been right and, behind it, what is wrong. Never holds a file's contents.
 */
export class TlsSettingError extends Error {
  override readonly name = 'TlsSettingError';
  readonly setting: string;
  readonly expected: string;

  constructor(setting: string, expected: string, options?: ErrorOptions) {
    super(`${setting}: expected ${expected}`, options);
    this.setting = setting;
    this.expected = expected;
  }
}

/** What an error of OpenSSL or of the system says, without its codes and places in sources: one line. */
export function tlsErrorText(error: Error): string {
  const reason: unknown = Reflect.get(error, 'reason');
  if (typeof reason === 'string' && reason !== '') return reason;
  const [line = ''] = error.message.split('\n');
  // error:0A000086:SSL routines:function:reason:file:line:
  const openssl = /error:[0-9A-F]+:[^:]*:[^:]*:([^:]+)/.exec(line);
  // Node's advice is about its command line, which is not the operator's.
  return (openssl?.[1] ?? line).replace(/; if the root CA is installed locally.*$/, '');
}
