import { afterAll, beforeAll, expect, it } from 'vitest';
import { errorFields, frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { connectPeer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';

let pooler: LocalPooler;
beforeAll(async () => {
  pooler = await startPooler();
});
afterAll(() => pooler[Symbol.asyncDispose]());

it.each([
  ['SSLRequest', frontend.sslRequest(), 'received unencrypted data after SSL request'],
  ['GSSENCRequest', frontend.gssEncRequest(), 'received unencrypted data after GSSAPI encryption request'],
])('bytes stuffed behind %s are refused, and the startup among them is not heard', async (_name, ask, text) => {
  const peer = await connectPeer(pooler.port);
  await peer.send(ask, frontend.startup({ user: pooler.postgres.user, database: 'pgbouncer' }));
  const { body } = await peer.message('E');
  expect(errorFields(body)).toMatchObject({ S: 'FATAL', C: '08P01', M: text });
  expect((await peer.end()).length).toBe(0);
  await peer.close();
});

it('encryption is declined with one byte, once for each kind, and the startup follows', async () => {
  const peer = await connectPeer(pooler.port);
  for (const ask of [frontend.gssEncRequest(), frontend.sslRequest()]) {
    await peer.send(ask);
    expect((await peer.bytes(1)).toString()).toBe('N');
  }
  await peer.send(frontend.startup({ user: pooler.postgres.user, database: 'pgbouncer' }));
  expect((await peer.messagesTo('Z')).map(({ type }) => type).join('')).toMatch(/^RS+KZ$/);
  await peer.close();
});

it('who asks for the same encryption twice is closed without a word', async () => {
  const peer = await connectPeer(pooler.port);
  await peer.send(frontend.sslRequest());
  await peer.bytes(1);
  await peer.send(frontend.sslRequest());
  expect((await peer.end()).length).toBe(0);
  await peer.close();
});

it('a login may be cut anywhere, whatever others have sent meanwhile', async () => {
  const parameters = { user: pooler.postgres.user, database: 'pgbouncer', application_name: 'cut' };
  const startup = frontend.startup(parameters);
  const whole = Buffer.concat([startup, frontend.query('SHOW VERSION')]);
  for (let cut = 1; cut < whole.length; cut++) {
    const peer = await connectPeer(pooler.port);
    await peer.send(whole.subarray(0, cut));
    await waitFor(() =>
      [...pooler.pooler.state.connections].some(
        ({ conn, address }) =>
          address.kind === 'tcp' && address.port === peer.socket.localPort && conn.bytesRead === cut,
      ),
    );
    // What is read next goes where that was.
    const other = await connectPeer(pooler.port);
    await other.send(Buffer.alloc(300, 0xff));
    await other.end();
    await other.close();
    await peer.send(whole.subarray(cut));
    const told = await peer.messagesTo('Z');
    expect(told.map(({ type }) => type).join(''), `cut at ${cut}`).toMatch(/^RS+KZ$/);
    expect((await peer.messagesTo('Z')).map(({ type }) => type).join(''), `cut at ${cut}`).toMatch(
      /^TDN*CZ$/,
    );
    await peer.close();
  }
});
