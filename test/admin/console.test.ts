import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ControlReply, controlOk } from '../../src/admin/control.ts';
import { MAX_CONSOLE_BODY_BYTES } from '../../src/admin/console.ts';
import { FrontendType } from '../../src/wire/codes.ts';
import { waitFor } from '../support/wait-for.ts';
import { decode, noSnapshots, query, rig, send } from './fake-control.ts';

describe('messages', () => {
  test('Terminate closes without a word', async () => {
    const answer = await send(rig(), FrontendType.Terminate, Buffer.alloc(0));
    expect(answer).toMatchObject({ types: '', closeReason: 'close req' });
  });

  test.each([
    'FunctionCall',
    'CopyData',
    'Password',
  ] as const)('%s ends the console and is named by its number', async (name) => {
    const reason = `unsupported packet type for admin console: ${FrontendType[name]}`;
    const answer = await send(rig(), FrontendType[name], Buffer.alloc(0));
    expect(answer).toMatchObject({ types: 'E', closeReason: reason });
    expect(answer.error).toMatchObject({ S: 'FATAL', C: '08P01', M: reason });
  });

  test.each([
    ['without its end', Buffer.from('SHOW VERSION')],
    ['with bytes behind its end', Buffer.from('SHOW VERSION\0x')],
    ['with a second string', Buffer.from('SHOW VERSION\0SHUTDOWN\0')],
    ['with no body', Buffer.alloc(0)],
  ])('a Query %s ends the console', async (_, body) => {
    const target = rig();
    const answer = await send(target, FrontendType.Query, body);
    expect(answer).toMatchObject({ types: 'E', closeReason: 'bad packet' });
    expect(target.control.requests).toEqual([]);
  });

  test('a Query longer than the buffer ends the console', async () => {
    const fits = Buffer.alloc(MAX_CONSOLE_BODY_BYTES, ' ');
    fits[fits.length - 1] = 0;
    expect(await send(rig(), FrontendType.Query, fits)).toMatchObject({ types: 'IZ', closeReason: null });
    const longer = Buffer.concat([Buffer.from(' '), fits]);
    const answer = await send(rig(), FrontendType.Query, longer);
    expect(answer).toMatchObject({ types: 'E', closeReason: 'incomplete pkt' });
    expect(answer.error).toMatchObject({ S: 'FATAL', M: 'incomplete pkt' });
  });

  test.each(['', ';', '  '])('the empty query %j is answered as PostgreSQL does', async (text) => {
    expect(await query(rig('stats'), text)).toMatchObject({ types: 'IZ', closeReason: null });
  });

  test('the console goes on after an error', async () => {
    const target = rig();
    expect((await query(target, 'nonsense')).types).toBe('EZ');
    expect((await query(target, 'SHOW VERSION')).types).toBe('TDCZ');
  });
});

test('no statement of a Query is run before the answers to those ahead of it are taken', async () => {
  const { console, control, abort } = rig();
  const room: PromiseWithResolvers<void>[] = [];
  const sent: Buffer[] = [];
  let asked = 0;
  control.snapshot = async (kind) => {
    asked++;
    return noSnapshots[kind];
  };
  const text = Buffer.from('SHOW POOLS; SHOW POOLS; SHOW POOLS\0');
  const answer = console.message(FrontendType.Query, text, abort.signal, (bytes) => {
    sent.push(bytes);
    room.push(Promise.withResolvers());
    return (room.at(-1) as PromiseWithResolvers<void>).promise;
  });
  for (const count of [1, 2]) {
    await waitFor(() => sent.length === count);
    expect(asked).toBe(count);
    room.at(-1)?.resolve();
  }
  const { bytes } = await answer;
  expect(asked).toBe(3);
  expect([...sent, bytes].map((part) => decode(part).types)).toEqual(['TC', 'TC', 'TCZ']);
});

test('a Query whose client leaves before it has taken the first answer is not run on', async () => {
  const { console, control, abort } = rig();
  let asked = 0;
  control.snapshot = async (kind) => {
    asked++;
    return noSnapshots[kind];
  };
  const text = Buffer.from('SHOW POOLS; SHOW POOLS\0');
  const reply = await console.message(FrontendType.Query, text, abort.signal, async () => abort.abort());
  expect([asked, reply.closeReason]).toEqual([1, 'client unexpected eof']);
});

describe('commands that take their time', () => {
  test('PAUSE answers only when the process does', async () => {
    const target = rig();
    const { promise, resolve } = Promise.withResolvers<ControlReply>();
    target.control.answer = () => promise;
    let answered = false;
    const answer = query(target, 'PAUSE').finally(() => {
      answered = true;
    });
    await new Promise(setImmediate);
    expect(target.control.requests).toEqual([{ kind: 'pause', database: null }]);
    expect(answered).toBe(false);
    resolve(controlOk);
    expect(await answer).toMatchObject({ types: 'CZ', tag: 'PAUSE' });
  });

  test('a client that goes away ends the wait, and gets nothing more', async () => {
    const target = rig();
    target.control.answer = (_, signal) => {
      const { promise, reject } = Promise.withResolvers<ControlReply>();
      signal.addEventListener('abort', () => reject(signal.reason));
      return promise;
    };
    const answer = query(target, 'WAIT_CLOSE shop');
    target.abort.abort();
    expect(await answer).toMatchObject({ types: '', closeReason: 'client unexpected eof' });
    expect(target.lines).toEqual(["LOG WAIT_CLOSE 'shop' command issued"]);
  });

  test('the body may be overwritten as soon as the call returned', async () => {
    const target = rig();
    const body = Buffer.from('KILL shop\0');
    const answer = send(target, FrontendType.Query, body);
    body.fill(0x78);
    await answer;
    expect(target.control.requests).toEqual([{ kind: 'kill', database: 'shop' }]);
  });
});

test('a process that fails to answer costs the command, not the console', async () => {
  const target = rig();
  target.control.answer = async () => {
    throw new Error('thread is gone');
  };
  const answer = await query(target, 'RELOAD');
  expect(answer).toMatchObject({ types: 'EZ', closeReason: null });
  expect(answer.error).toMatchObject({ S: 'ERROR', M: 'command failed, see logs for additional details' });
  expect(target.lines).toContain('ERROR console command failed: Error: thread is gone');
  target.control.answer = async () => controlOk;
  expect((await query(target, 'RELOAD')).tag).toBe('RELOAD');
});

test('any message is answered with well-formed bytes and ends or stays ready', async () => {
  const type = fc.oneof(fc.constantFrom(...Object.values(FrontendType)), fc.nat(255));
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.string({ unit: 'binary', maxLength: 60 }).map((text) => Buffer.from(`${text}\0`)),
    fc.constantFrom('SHOW', 'SET', 'PAUSE').chain((word) => {
      return fc.string({ maxLength: 20 }).map((rest) => Buffer.from(`${word} ${rest}\0`));
    }),
  );
  await fc.assert(
    fc.asyncProperty(type, body, async (messageType, bytes) => {
      const answer = await send(rig('stats'), messageType, Buffer.from(bytes));
      const isAsked = messageType === FrontendType.Query || messageType === FrontendType.Sync;
      expect(answer.types.endsWith('Z')).toBe(isAsked && answer.closeReason === null);
    }),
  );
});
