import { expect, test } from 'vitest';
import { parsePeer } from '../../src/config/peers.ts';
import { configErrorOf } from './files.ts';

const at = { file: 'a.ini', line: 3 };
const warn = (text: string): void => {
  throw new Error(`unexpected warning: ${text}`);
};

test('a peer has a host, port 6432 and default pool size unless told otherwise', () => {
  expect(parsePeer('1', 'host=/tmp', at, warn)).toEqual({ id: 1, host: '/tmp', port: 6432, poolSize: null });
  expect(parsePeer('65535', 'host=h port=1 pool_size=2', at, warn)).toEqual({
    id: 65535,
    host: 'h',
    port: 1,
    poolSize: 2,
  });
});

test.each([
  ['0', 'host=h'],
  ['65536', 'host=h'],
  ['x', 'host=h'],
  ['1', 'port=1'],
  ['1', 'host=h port=0'],
  ['1', 'host=h user=u'],
])('the peer %s = %s is refused', (name, text) => {
  expect(configErrorOf(() => parsePeer(name, text, at, warn)).key).toBe(name);
});
