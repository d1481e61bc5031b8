import fc from 'fast-check';
import { expect, it } from 'vitest';
import { RestReader } from '../../src/server/rest.ts';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';
import { cuttings, feedBorrowed } from '../support/cut.ts';
import { backend as b, lyingMessage, message } from '../support/peer-messages.ts';

function rest(): { reader: RestReader; heard: string[] } {
  const heard: string[] = [];
  const reader = new RestReader({
    unasked: (text, isDirty) => heard.push(`${isDirty ? 'dirty' : 'clean'}: ${text}`),
    parameterStatus: (name, value) => heard.push(`${name}=${value}`),
  });
  return { reader, heard };
}

const notification = message('A', 1, 'channel', 'payload');

it.each<readonly [string, Buffer, string[]]>([
  ['a notification is dropped', notification, ['clean: notification for a client that is gone: dropped']],
  [
    'a notice makes the connection dirty',
    message('N', Buffer.from('SNOTICE\0Mhm\0\0')),
    ['dirty: unasked NOTICE: hm'],
  ],
  [
    'an error makes it dirty, and is told without SQLSTATE, too',
    b.errorResponse({ S: 'FATAL', M: 'terminating connection' }),
    ['dirty: unasked FATAL: terminating connection'],
  ],
  ['an error that says nothing makes it dirty', b.errorResponse({}), ['dirty: unasked message: ']],
  [
    'a ParameterStatus is noted and makes it dirty',
    b.parameterStatus('TimeZone', 'UTC'),
    ['TimeZone=UTC', 'dirty: unasked ParameterStatus'],
  ],
])('%s, however it is cut', (_what, bytes, due) => {
  for (const { name, chunks } of cuttings(bytes)) {
    const { reader, heard } = rest();
    feedBorrowed(chunks, (chunk) => reader.feed(chunk, 0, chunk.length));
    expect(heard, name).toEqual(due);
  }
});

it('what is behind a dirty message goes to whoever reads next', () => {
  const { reader } = rest();
  const notice = b.parameterStatus('a', 'b');
  expect(reader.feed(Buffer.concat([notice, notification]), 0, notice.length + notification.length)).toBe(
    notice.length,
  );
});

it('half a message is noticed: nobody else may read on there', () => {
  const { reader } = rest();
  expect(reader.atBoundary).toBe(true);
  for (let cut = 1; cut < notification.length; cut++) {
    reader.feed(notification, 0, cut);
    expect(reader.atBoundary).toBe(false);
    reader.feed(notification, cut, notification.length);
    expect(reader.atBoundary).toBe(true);
  }
});

it.each([
  ['an answer that nobody asked for', b.commandComplete('SELECT 1')],
  ['ReadyForQuery', b.readyForQuery()],
  ['a type that does not exist', message('?')],
  ['a bad length', lyingMessage('N', 3)],
  ['a message over the limit', lyingMessage('A', 2 << 20)],
  ['a malformed ParameterStatus', message('S', 'x')],
])('%s breaks the protocol', (_what, bytes) => {
  expect(() => rest().reader.feed(bytes, 0, bytes.length)).toThrow(ProtocolViolation);
});

it('any bytes do no more than that', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 60 }), (bytes) => {
      try {
        rest().reader.feed(Buffer.from(bytes), 0, bytes.length);
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolViolation);
      }
    }),
  );
});
