import { expect, test } from 'vitest';
import { bytewise, cuttings, feedBorrowed } from './cut.ts';
import { ManualClock } from './manual-clock.ts';
import { backend, errorFields, frontend, lyingMessage, message } from './peer-messages.ts';
import { connectAndLogin, connectPeer, ScriptedServer } from './scripted-peer.ts';
import { waitFor, within } from './wait-for.ts';

test('waiting gives the value once it is there, and names what was awaited when it never comes', async () => {
  let calls = 0;
  expect(await waitFor(() => (++calls === 3 ? 'there' : undefined))).toBe('there');
  expect(await waitFor(() => 0)).toBe(0);
  await expect(waitFor(() => false, { deadlineMs: 1, what: 'a miracle' })).rejects.toThrow('for: a miracle');
  await expect(within(new Promise(() => {}), 'an answer', 1)).rejects.toThrow('for: an answer');
  expect(await within(Promise.resolve(5), 'five')).toBe(5);
});

test('a manual clock moves only when told, and only its wall time goes back', () => {
  const clock = new ManualClock(1000, 5000);
  clock.advance(250);
  expect([clock.nowMs(), clock.wallMs()]).toEqual([1250, 5250]);
  clock.setWall(10);
  expect([clock.nowMs(), clock.wallMs()]).toEqual([1250, 10]);
  expect(() => clock.advance(-1)).toThrow(RangeError);
});

test('cuttings cover every place and never lose a byte', () => {
  const bytes = Buffer.from('abcd');
  const all = [...cuttings(bytes)];
  expect(all.map(({ name }) => name)).toEqual([
    'whole',
    'one byte at a time',
    'cut at 1',
    'cut at 2',
    'cut at 3',
  ]);
  for (const { chunks } of all) expect(Buffer.concat(chunks).toString()).toBe('abcd');
  expect(bytewise(bytes)).toHaveLength(4);
});

test('lent bytes are overwritten once they were taken', () => {
  const kept: Buffer[] = [];
  feedBorrowed([Buffer.from('ab')], (chunk) => kept.push(chunk));
  expect(kept).toEqual([Buffer.of(0xdd, 0xdd)]);
});

test('messages are framed as the manual says', () => {
  expect(frontend.query('x')).toEqual(Buffer.from('Q\0\0\0\x06x\0', 'latin1'));
  expect(frontend.sslRequest()).toEqual(Buffer.of(0, 0, 0, 8, 4, 210, 22, 47));
  expect(backend.readyForQuery('T')).toEqual(Buffer.from('Z\0\0\0\x05T', 'latin1'));
  expect(frontend.startup({ user: 'u' })).toEqual(Buffer.from('\0\0\0\x10\0\x03\0\0user\0u\0\0', 'latin1'));
  expect(lyingMessage('Q', 0x80000000)).toEqual(Buffer.of(0x51, 0x80, 0, 0, 0));
  expect(errorFields(backend.errorResponse({ S: 'FATAL', M: 'no' }).subarray(5))).toEqual({
    S: 'FATAL',
    M: 'no',
  });
});

test('a scripted client and server log in, speak, and cut each other off', async () => {
  await using server = await ScriptedServer.listen();
  const accepted = server.acceptLogin();
  const client = await connectAndLogin(server.port, { user: 'u' });
  const served = await accepted;
  await client.sendChunks(bytewise(frontend.query('SELECT 1')));
  expect((await served.message('Q')).body.toString()).toBe('SELECT 1\0');
  await served.send(backend.commandComplete('SELECT 0'), backend.readyForQuery());
  expect((await client.messagesTo('Z')).map(({ type }) => type)).toEqual(['C', 'Z']);
  client.halfClose();
  expect(await served.end()).toHaveLength(0);
  await served.send(Buffer.from('junk'));
  await served.close();
  expect((await client.end()).toString()).toBe('junk');
  expect(server.accepted).toBe(1);
});

test('a script that meets the wrong message or an early end fails with what it met', async () => {
  await using server = await ScriptedServer.listen();
  const client = await connectPeer(server.port);
  const served = await server.accept();
  await client.send(message('X', 'why'));
  await expect(served.message('Q')).rejects.toThrow('expected message Q, got X: "why\\u0000"');
  await client.send(Buffer.from('Q\0'));
  client.reset();
  await expect(served.message()).rejects.toThrow('the peer closed');
});

test('a stalled peer reads nothing until it resumes', async () => {
  await using server = await ScriptedServer.listen();
  const client = await connectPeer(server.port);
  const served = await server.accept();
  await client.send(Buffer.from('1'));
  await waitFor(() => served.unread === 1);
  served.stall();
  const big = Buffer.alloc(64 << 20, 7);
  let sent = false;
  const sending = client.send(big).then(() => {
    sent = true;
  });
  await waitFor(() => client.socket.writableLength > 0);
  expect(sent).toBe(false);
  const unread = served.unread;
  served.resume();
  await sending;
  await waitFor(() => served.unread === big.length + 1);
  expect(unread).toBeLessThan(big.length);
});

test('a scripted server that waits for a login passes over what only cancels', async () => {
  await using server = await ScriptedServer.listen();
  const cancel = await connectPeer(server.port);
  await cancel.send(frontend.cancelRequest(4242, Buffer.from('KEY!')));
  await waitFor(() => server.accepted === 1);
  const [client, peer] = await Promise.all([
    connectAndLogin(server.port, { user: 'u' }),
    server.acceptLogin(),
  ]);
  await client.send(frontend.query('SELECT 1'));
  expect((await peer.message('Q')).body.toString()).toBe('SELECT 1\0');
  expect(await cancel.end()).toHaveLength(0);
  for (const each of [cancel, client]) await each.close();
});
