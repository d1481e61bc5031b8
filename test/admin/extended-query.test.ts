import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FrontendType } from '../../src/wire/codes.ts';
import { frontend, int16, int32, message } from '../support/peer-messages.ts';
import { ask, decode, type Rig, rig, server } from './fake-control.ts';
import { byEffort } from '../support/effort.ts';

/** Sends whole messages one after the other; what came back for each, by type letters. */
async function exchange(target: Rig, ...messages: readonly Buffer[]): Promise<string[]> {
  const types: string[] = [];
  for (const bytes of messages) types.push((await send(target, bytes)).types);
  return types;
}

async function send(target: Rig, bytes: Buffer) {
  const { signal } = target.abort;
  const reply = await ask(target.console, bytes.readUInt8(0), bytes.subarray(5), signal);
  return { ...decode(reply.bytes), closeReason: reply.closeReason, error: decode(reply.bytes).error };
}

describe('limits and refusals', () => {
  test('parameters are refused, whether a Parse declares them or a Bind brings them', async () => {
    const target = rig();
    const declared = message('P', '', 'SHOW STATE', int16(1), int32(23));
    expect((await send(target, declared)).error).toMatchObject({
      C: '0A000',
      M: 'commands of the console take no parameters',
    });
    await exchange(target, frontend.sync(), frontend.parse('s', 'SHOW STATE'));
    expect((await send(target, frontend.bindTexts('', 's', ['x']))).error).toMatchObject({
      C: '08P01',
      M: 'bind message supplies 1 parameters, but prepared statement "s" requires 0',
    });
  });

  test.each([
    ['two formats for one column', [0, 0], 'bind message has 2 result formats but query has 1 columns'],
    ['a format that there is not', [2], 'unsupported format code: 2'],
  ])('%s are refused', async (_, formats, text) => {
    const target = rig();
    await exchange(target, frontend.parse('', 'SHOW VERSION'));
    expect((await send(target, frontend.bindFormats('', '', formats))).error?.['M']).toBe(text);
  });

  test('statements and portals are limited in number, and closing one makes room', async () => {
    const target = rig();
    for (let n = 0; n < 1000; n++) await exchange(target, frontend.parse(`s${n}`, ''));
    expect((await send(target, frontend.parse('one', ''))).error).toMatchObject({ C: '53400' });
    await exchange(target, frontend.sync(), frontend.close('S', 's7'));
    expect(await exchange(target, frontend.parse('one', 'BEGIN'), frontend.sync())).toEqual(['1', 'Z']);
    for (let n = 0; n < 50; n++) await exchange(target, frontend.bind(`p${n}`, 's0'));
    expect((await send(target, frontend.bind('', 's0'))).error).toMatchObject({ C: '53400' });
  });

  test('so are the rows that portals keep, in all', async () => {
    const servers = Array.from({ length: 6000 }, (_, id) => server({ id }));
    const target = rig('admin', { servers });
    await exchange(target, frontend.parse('', 'SHOW SERVERS'));
    for (const name of ['a', 'b', 'c']) await exchange(target, frontend.bind(name, ''));
    for (const name of ['a', 'b'])
      expect((await send(target, frontend.execute(name, 1))).types.slice(-1)).toBe('s');
    expect((await send(target, frontend.execute('c', 1))).error).toMatchObject({ C: '53400' });
  });

  test.each([
    'Parse',
    'Bind',
    'Describe',
    'Execute',
    'Close',
  ] as const)('a %s that is none, or too long, ends the console', async (name) => {
    const type = String.fromCharCode(FrontendType[name]);
    const broken = await send(rig(), message(type, Buffer.of(1, 2)));
    expect(broken).toMatchObject({ types: 'E', closeReason: `broken ${name} packet` });
    const long = await send(rig(), message(type, Buffer.alloc(16_385)));
    expect(long).toMatchObject({ types: 'E', closeReason: 'incomplete pkt' });
  });

  test('a value that a column’s type cannot hold is an error in binary, and written out in text', async () => {
    const target = rig('admin', { servers: [server({ id: 2 ** 31 })] });
    const ask = (formats: number[]) => [
      ...[frontend.parse('', 'SHOW SERVERS'), frontend.bindFormats('', '', formats)],
      ...[frontend.execute(''), frontend.sync()],
    ];
    expect(await exchange(target, ...ask([]))).toEqual(['1', '2', 'DC', 'Z']);
    expect(await exchange(target, ...ask([1]))).toEqual(['1', '2', 'E', 'Z']);
  });

  test('a process that fails to answer an Execute costs the stretch, not the console', async () => {
    const target = rig();
    target.control.answer = async () => {
      throw new Error('thread is gone');
    };
    const stretch = [frontend.parse('', 'RELOAD'), frontend.bind('', ''), frontend.execute('')];
    expect(await exchange(target, ...stretch, frontend.execute(''), frontend.sync())).toEqual([
      ...['1', '2', 'E', '', 'Z'],
    ]);
    expect(await exchange(target, frontend.query('SHOW STATE'))).toEqual(['TDDDCZ']);
  });
});

test('an Execute of a command is carried out once, however often its portal is run', async () => {
  const target = rig();
  await exchange(target, frontend.parse('', 'RECONNECT shop'), frontend.bind('', ''), frontend.execute(''));
  const again = await send(target, frontend.execute(''));
  expect(again.error).toMatchObject({ C: '55000', M: 'portal "" cannot be run' });
  expect(target.control.requests).toEqual([{ kind: 'reconnect', database: 'shop' }]);
});

test('a statement is read when it is parsed and carried out only when it is executed', async () => {
  const target = rig();
  await exchange(
    target,
    frontend.parse('s', 'KILL shop'),
    frontend.bind('p', 's'),
    frontend.describe('P', 'p'),
  );
  expect(target.control.requests).toEqual([]);
  expect(await exchange(target, frontend.execute('p'))).toEqual(['C']);
  expect(target.control.requests).toEqual([{ kind: 'kill', database: 'shop' }]);
});

test('SHUTDOWN over the extended protocol closes without a word', async () => {
  const target = rig();
  await exchange(target, frontend.parse('', 'SHUTDOWN'), frontend.bind('', ''));
  expect(await send(target, frontend.execute(''))).toMatchObject({ types: '', closeReason: 'SHUTDOWN' });
});

describe('any sequence of messages', () => {
  const name = fc.constantFrom('', 'a', 'b');
  const sql = fc.oneof(
    fc.constantFrom(
      ...[
        '',
        'SHOW STATE',
        'SHOW LISTS',
        'SHOW HELP',
        'SHOW FDS',
        'RELOAD',
        'BEGIN',
        'COMMIT',
        'ROLLBACK',
        'SELECT 1',
      ],
      ...[
        'SELECT 1; SHOW STATE',
        "SET a = 'b'",
        'SET extra_float_digits = 3',
        'DISCARD ALL',
        'SELECT oid FROM pg_type',
      ],
    ),
    fc.string({ unit: 'binary', maxLength: 30 }).map((text) => text.replaceAll('\0', '')),
  );
  const formats = fc.oneof(fc.constantFrom([], [0], [1]), fc.array(fc.nat(3), { maxLength: 4 }));
  const request = fc.oneof(
    fc.tuple(name, sql).map(([statement, text]) => frontend.parse(statement, text)),
    fc
      .tuple(name, name, formats)
      .map(([portal, statement, codes]) => frontend.bindFormats(portal, statement, codes)),
    fc.tuple(name, name).map(([portal, statement]) => frontend.bindTexts(portal, statement, ['x'])),
    fc.tuple(fc.constantFrom('S', 'P'), name).map(([kind, target]) => frontend.describe(kind as 'S', target)),
    fc.tuple(fc.constantFrom('S', 'P'), name).map(([kind, target]) => frontend.close(kind as 'S', target)),
    fc.tuple(name, fc.integer({ min: -1, max: 3 })).map(([portal, rows]) => frontend.execute(portal, rows)),
    fc.constant(frontend.flush()),
  );
  const anything = fc.oneof(
    { weight: 6, arbitrary: request },
    { weight: 2, arbitrary: fc.constant(frontend.sync()) },
    { weight: 1, arbitrary: sql.map((text) => frontend.query(text)) },
  );
  const runs = byEffort({ wide: 300, full: 20_000 });

  test('each Sync and each Query has one ReadyForQuery, and no two errors come without a Sync between', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('admin' as const, 'stats' as const),
        fc.array(anything, { maxLength: 40 }),
        async (role, messages) => {
          const target = rig(role);
          let isSkipping = false;
          for (const bytes of messages) {
            const letter = String.fromCharCode(bytes.readUInt8(0));
            const { types, closeReason } = await send(target, bytes);
            expect(closeReason).toBe(null);
            if (letter === 'S') {
              expect(types).toBe('Z');
              isSkipping = false;
            } else if (isSkipping) {
              expect(types).toBe('');
            } else if (letter === 'Q') {
              expect(types).toMatch(/^[^Z]*Z$/);
              expect(types.match(/E/g)?.length ?? 0).toBeLessThanOrEqual(1);
            } else {
              expect(types).toMatch(/^(E|1|2|3|t?[Tn]|I|N?C|D*[Cs]|)$/);
              isSkipping = types === 'E';
            }
          }
          if (role === 'stats') expect(target.control.requests).toEqual([]);
        },
      ),
      { numRuns: runs },
    );
  });

  test('bodies of any bytes are answered or end the console', async () => {
    const type = fc.constantFrom(...'PBDECSH'.split(''));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(type, fc.uint8Array({ maxLength: 40 })), { maxLength: 12 }),
        async (all) => {
          const target = rig('stats');
          for (const [letter, body] of all) {
            const { closeReason, types } = await send(target, message(letter, body));
            if (closeReason === null) continue;
            expect(types).toBe('E');
            expect(closeReason).toMatch(/^broken \w+ packet$/);
            return;
          }
        },
      ),
      { numRuns: runs },
    );
  });
});
