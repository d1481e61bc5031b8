/** Where a statement of the configuration stands. `line` counts from 1; 0 means the file as a whole. */
export interface SourcePosition {
  readonly file: string;
  readonly line: number;
}

/**
 * The configuration cannot be used: at start the daemon ends, at RELOAD the old configuration stays whole and
 * the console answers with SQLSTATE F0000. Shape: `key` is the setting or entry at fault (empty when the line
 * has none), `expected` says what would have been right. No text ever holds a value: values may be passwords.
 */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly file: string;
  readonly line: number;
  readonly key: string;
  readonly expected: string;

  constructor(at: SourcePosition, key: string, expected: string, options?: ErrorOptions) {
    const where = at.line > 0 ? `${at.file}:${at.line}` : at.file;
    super(`${where}: ${key === '' ? '' : `${key}: `}expected ${expected}`, options);
    this.file = at.file;
    this.line = at.line;
    this.key = key;
    this.expected = expected;
  }
}
