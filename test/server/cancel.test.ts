import { expect, it } from 'vitest';
import { openCancel } from '../../src/server/cancel.ts';
import { frontend as f } from '../support/peer-messages.ts';
import { ScriptedServer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';

const KEY = Buffer.from([0, 0, 0x10, 0x92, 1, 2, 3, 4]);
const SENT = 'successfully sent cancel request';
const FAILED = 'failed to send cancel request';
const untuned = (): void => {};

it('a cancel is done when PostgreSQL has closed the connection that brought it, not before', async () => {
  await using server = await ScriptedServer.listen();
  const done: string[] = [];
  openCancel(
    { host: '127.0.0.1', port: server.port },
    KEY,
    () => true,
    (reason) => done.push(reason),
    untuned,
  );
  const peer = await server.accept();
  expect((await peer.bytes(16)).equals(f.cancelRequest(4242, KEY.subarray(4)))).toBe(true);
  expect(done).toEqual([]);
  await peer.close();
  await waitFor(() => done.length > 0);
  expect(done).toEqual([SENT]);
});

it('a cancel that may not be sent any more sends nothing', async () => {
  await using server = await ScriptedServer.listen();
  const done: string[] = [];
  openCancel(
    { host: '127.0.0.1', port: server.port },
    KEY,
    () => false,
    (reason) => done.push(reason),
    untuned,
  );
  expect(await (await server.accept()).end()).toHaveLength(0);
  await waitFor(() => done.length > 0);
  expect(done).toEqual([FAILED]);
});

it('a cancel that is cut, or finds nobody, is done once', async () => {
  const server = await ScriptedServer.listen();
  const { port } = server;
  const done: string[] = [];
  const carrier = openCancel(
    { host: '127.0.0.1', port },
    KEY,
    () => true,
    (reason) => done.push(reason),
    untuned,
  );
  const peer = await server.accept();
  await peer.bytes(16);
  carrier.cut();
  await waitFor(() => done.length > 0);
  carrier.cut();
  await server[Symbol.asyncDispose]();
  openCancel(
    { host: '127.0.0.1', port },
    KEY,
    () => true,
    (reason) => done.push(reason),
    untuned,
  );
  await waitFor(() => done.length > 1);
  expect(done).toEqual([SENT, FAILED]);
});
