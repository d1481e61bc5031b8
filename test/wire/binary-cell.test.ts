import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { binaryCell } from '../../src/wire/binary-cell.ts';
import { TypeOid } from '../../src/wire/type-oid.ts';
import { frontend } from '../support/peer-messages.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { WireClient } from '../support/wire-client.ts';

describe('as PostgreSQL sends it', () => {
  let client: WireClient;

  beforeAll(async () => {
    await createRole(sharedPostgres(), { name: 'bc_app', auth: 'trust' });
    client = await WireClient.connect(sharedPostgres(), { user: 'bc_app', database: 'postgres' });
  });

  afterAll(() => client[Symbol.asyncDispose]());

  /** The value in binary, in hex: PostgreSQL's own send function. */
  async function sent(type: string, text: string): Promise<string | null> {
    const send = type === 'bytea' ? 'byteasend' : type === 'numeric' ? 'numeric_send' : `${type}send`;
    return client.value(`SELECT encode(${send}('${text.replaceAll("'", "''")}'::${type}), 'hex')`);
  }

  const whole = fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }).map(String);
  test.each([
    ['int4', fc.integer().map(String)],
    ['int8', fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String)],
    [
      'numeric',
      fc.oneof(whole, fc.constantFrom('0', '10000', '-10000', '9999', '100000000', '123400000000')),
    ],
    ['text', fc.string({ unit: 'grapheme' }).filter((text) => !text.includes('\0') && text.isWellFormed())],
    ['bytea', fc.uint8Array().map((bytes) => `\\x${Buffer.from(bytes).toString('hex')}`)],
    ['bool', fc.constantFrom('t', 'f')],
  ] as const)('%s', async (type, values: fc.Arbitrary<string>) => {
    await fc.assert(
      fc.asyncProperty(values, async (text) => {
        expect(binaryCell(TypeOid[type], text).toString('hex')).toBe(await sent(type, text));
      }),
      { numRuns: 60 },
    );
  });

  test('and its drivers’ way of asking for it gives the same bytes', async () => {
    await client.send(
      frontend.parse('', "SELECT 10000::numeric, (-7)::int4, 'ä'::text"),
      frontend.bindFormats('', '', [1]),
      frontend.execute(''),
      frontend.sync(),
    );
    const row = (await client.peer.messagesTo('Z')).find(({ type }) => type === 'D');
    const cells = [binaryCell(1700, '10000'), binaryCell(23, '-7'), binaryCell(25, 'ä')];
    const expected = cells.flatMap((cell) => [Buffer.from([0, 0, 0, cell.length]), cell]);
    expect(row?.body).toEqual(Buffer.concat([Buffer.from([0, 3]), ...expected]));
  });
});

test.each([
  [TypeOid.int4, '2147483648'],
  [TypeOid.int4, '-2147483649'],
  [TypeOid.int8, '9223372036854775808'],
])('type %i cannot hold %s', (type, text) => {
  expect(() => binaryCell(type, text)).toThrow(RangeError);
});
