import { afterAll, beforeAll, expect, it } from 'vitest';
import { errorFields, frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { connectPeer } from '../support/scripted-peer.ts';

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
