import type { Socket } from 'node:net';
import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { SharedCustody } from '../../src/daemon/server-custody.ts';
import type { Grant } from '../../src/pool/budget.ts';
import { granted, SERVER, SharedStage } from '../pool/budget-stage.ts';

function started(): { stage: SharedStage; custody: SharedCustody; grant: Grant; socket: () => Socket } {
  const stage = new SharedStage().joinAll();
  const custody = new SharedCustody(stage.budget(0).custody, () => 3);
  const socket = () => new EventEmitter() as unknown as Socket;
  return { stage, custody, grant: granted(stage.budget(0).askServer(SERVER)), socket };
}

test('the copy of a descriptor goes with its socket, and the grant stays', () => {
  const { stage, custody, grant, socket } = started();
  const only = socket();
  expect(custody.keep(grant, only)).toBe(true);
  only.emit('close');
  expect([stage.open.size, stage.keeper.count('server')]).toEqual([0, 1]);
});

test('the end of a socket says nothing of the one that has come in its place', () => {
  const { stage, custody, grant, socket } = started();
  const [first, second] = [socket(), socket()];
  custody.keep(grant, first);
  // One that was let go of, and taken up again: nobody else was there who could have it.
  custody.watch(grant, second);
  first.emit('close');
  expect(stage.open.size).toBe(1);
  second.emit('close');
  expect(stage.open.size).toBe(0);
});

test('the end of a socket says nothing of a server that was given away and is on its way back', () => {
  const { stage, custody, grant, socket } = started();
  const [before, after] = [socket(), socket()];
  custody.keep(grant, before);
  const given = stage.budget(0).transfer(grant, 1) as Grant;
  stage.budget(1).arrived(given);
  const back = stage.budget(1).transfer(given, 0) as Grant;
  // However late this thread gets to it.
  before.emit('close');
  expect(stage.open.size).toBe(1);
  expect(stage.budget(0).arrived(back)).toBe(true);
  custody.watch(back, after);
  after.emit('close');
  expect([stage.open.size, stage.keeper.count('server')]).toEqual([0, 1]);
});

test('what was given to another thread is that one’s, whenever the socket here is closed', () => {
  const { stage, custody, grant, socket } = started();
  const here = socket();
  custody.keep(grant, here);
  expect(stage.budget(0).transfer(grant, 1)).not.toBe(null);
  here.emit('close');
  expect([stage.open.size, stage.keeper.count('server')]).toEqual([1, 1]);
});

test.each([
  'db.example.org',
  null,
])('how a server is cancelled outlives its thread, TLS to %s included', async (tlsHost) => {
  const { stage, custody, grant, socket } = started();
  const key = Buffer.alloc(260, 'k');
  custody.keep(grant, socket());
  custody.learnKey(grant, key, tlsHost);
  expect(await stage.keeper.reclaim(0)).toMatchObject([{ backendKey: key, tlsHost }]);
});

test('a name that there is no room for leaves a server that cannot be cancelled, and nothing else wrong', async () => {
  const { stage, custody, grant, socket } = started();
  custody.keep(grant, socket());
  custody.learnKey(grant, Buffer.alloc(260, 'k'), 'x'.repeat(257));
  expect(await stage.keeper.reclaim(0)).toMatchObject([{ backendKey: null }]);
});
