import { type Fault, fault } from './fault.ts';

/** Bytes that are read or written wrongly. */
export const wireFaults: readonly Fault[] = [
  fault(
    'the scanner takes a negative length',
    {
      file: 'src/wire/scanner.ts',
      find: 'if (this.length < 4 || this.length > this.maxLength) {',
      replace: 'if (this.length > this.maxLength) {',
    },
    ['test/wire/scanner.test.ts'],
  ),
  fault(
    'the scanner takes a negative length in a header that comes in two parts',
    {
      file: 'src/wire/scanner.ts',
      find: 'if (this.length < 4 || this.length > this.maxLength) return HEADER_BAD;',
      replace: 'if (this.length > this.maxLength) return HEADER_BAD;',
    },
    ['test/wire/scanner.test.ts'],
  ),
  fault(
    'a parameter’s value can end its literal and go on as SQL',
    { file: 'src/wire/sql-quote.ts', find: '.replaceAll("\'", "\'\'")', replace: '' },
    ['test/wire/sql-quote.test.ts'],
  ),
  fault(
    'the length of a written message counts its type byte',
    {
      file: 'src/wire/writer.ts',
      find: 'this.#buffer.writeInt32BE(this.#pos - this.#lengthAt, this.#lengthAt);',
      replace: 'this.#buffer.writeInt32BE(this.#pos - this.#lengthAt + 1, this.#lengthAt);',
    },
    ['test/wire/writer.test.ts'],
  ),
  fault(
    'a zero character in a text ends it for the peer and starts another field',
    {
      file: 'src/wire/writer.ts',
      find: 'const text = nul < 0 ? value : value.slice(0, nul);',
      replace: 'const text = nul < -1 ? value.slice(0, nul) : value;',
    },
    ['test/wire/writer.test.ts'],
  ),
  fault(
    'bytes stuffed behind SSLRequest are taken for the client’s first packet',
    {
      file: 'src/client/startup.ts',
      find: "else if (rest.length > 0) connection.fail(fatal('received unencrypted data after SSL request'));",
      replace: 'else if (rest.length > 0) this.bytes(rest, rest.length);',
    },
    ['test/client/startup.test.ts'],
  ),
];
