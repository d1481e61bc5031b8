import { getEventListeners } from 'node:events';
import { expect, test } from 'vitest';
import { connectConsole, runOn, watch } from '../support/console.ts';
import { frontend } from '../support/peer-messages.ts';
import { workersOfTests } from '../support/pooler-config.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { connectPeer } from '../support/scripted-peer.ts';
import { skip } from '../support/skip.ts';
import { waitFor, within } from '../support/wait-for.ts';
import { ConsoleStage, hasBackend, pidOf } from '../support/console-stage.ts';
import { WireClient } from '../support/wire-client.ts';

const stage = new ConsoleStage();

test('PAUSE waits for transactions in progress, holds clients, and RESUME lets them go on', async () => {
  const [busy, idle, late] = [
    await stage.pooler.client({ database: 'one' }),
    await stage.pooler.client({ database: 'two' }),
    await stage.pooler.client({ database: 'two' }),
  ];
  await busy.query('BEGIN');
  const busyPid = await pidOf(busy);
  const idlePid = await pidOf(idle);
  const paused = watch(stage.run('PAUSE'));
  // Idle servers go at once; the one in a transaction stays until that is over.
  await waitFor(async () => !(await hasBackend(idlePid)));
  const waiting = watch(late.query('SELECT 2 AS two'));
  await waitFor(async () => (await stage.poolOf('two'))?.['cl_waiting'] === 1);
  expect((await busy.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  expect([paused.settled, waiting.settled]).toEqual([false, false]);
  await busy.query('COMMIT');
  expect(await paused.promise).toBe('PAUSE');
  // PostgreSQL may be stopped now: nobody is connected.
  expect(await hasBackend(busyPid)).toBe(false);
  expect(await stage.run('PAUSE')).toBe('ERROR 08P01 already suspended/paused');
  expect(await stage.run('PAUSE one')).toBe('ERROR 08P01 already suspended/paused');
  expect(waiting.settled).toBe(false);
  expect(await stage.run('RESUME')).toBe('RESUME');
  expect((await waiting.promise).rows).toEqual([{ two: 2 }]);
  for (const client of [busy, idle, late]) await client.end();
});

test('PAUSE of one database leaves the others alone', async () => {
  const [one, two] = [
    await stage.pooler.client({ database: 'one' }),
    await stage.pooler.client({ database: 'two' }),
  ];
  await one.query('SELECT 1');
  expect(await stage.run('PAUSE one')).toBe('PAUSE');
  expect((await stage.show('DATABASES')).map(({ name, paused }) => `${name} ${paused}`)).toEqual([
    'one 1',
    'pgbouncer 0',
    'session 0',
    'two 0',
  ]);
  const waiting = watch(one.query('SELECT 1 AS one'));
  expect((await two.query('SELECT 2 AS two')).rows).toEqual([{ two: 2 }]);
  expect(waiting.settled).toBe(false);
  expect(await stage.run('RESUME')).toBe('ERROR 08P01 pooler is not paused/suspended');
  expect(await stage.run('RESUME one')).toBe('RESUME');
  expect((await waiting.promise).rows).toEqual([{ one: 1 }]);
  await Promise.all([one.end(), two.end()]);
});

test('while paused, clients log in when the pool has been welcomed before, else their login waits', async (context) => {
  if (workersOfTests() > 1) skip(context, 'each thread waits for its own first server of a pool');
  const client = await stage.pooler.client({ database: 'one' });
  await stage.run('PAUSE');
  const welcomed = await stage.pooler.client({ database: 'one' });
  const stranger = watch(stage.pooler.client({ database: 'two' }));
  await waitFor(async () => (await stage.poolOf('two'))?.['cl_waiting'] === 1);
  expect(stranger.settled).toBe(false);
  await stage.run('RESUME');
  for (const each of [client, welcomed, await stranger.promise]) await each.end();
});

test('a session holds its server, and with it PAUSE, until it ends', async () => {
  const client = await stage.pooler.client({ database: 'session' });
  await client.query('SELECT 1');
  const paused = watch(stage.run('PAUSE session'));
  await client.query('SELECT 1');
  expect(paused.settled).toBe(false);
  await client.end();
  expect(await paused.promise).toBe('PAUSE');
});

test('a cancel on the console of somebody who may only look ends nothing', async () => {
  await stage.pooler.reload({
    settings: { stats_users: 'pause_onlooker' },
    userlist: { pause_onlooker: '' },
  });
  await using onlooker = await WireClient.connect(stage.pooler.port, {
    user: 'pause_onlooker',
    database: 'pgbouncer',
  });
  expect(await stage.run('PAUSE')).toBe('PAUSE');
  expect((await onlooker.query('RESUME')).errors[0]).toMatchObject({ M: 'admin access needed' });
  await onlooker.cancel();
  await waitFor(() =>
    stage.pooler.lines.some((line) =>
      line.endsWith('closing because: cancel request for console client (age=0s)'),
    ),
  );
  expect(stage.pooler.pooler.standing().isPaused).toBe(true);
});

test('a cancel on the console takes PAUSE back', async () => {
  const client = await stage.pooler.client({ database: 'one' });
  await client.query('BEGIN');
  const console = await connectPeer(stage.pooler.port);
  await console.send(frontend.startup({ user: sharedPostgres().user, database: 'pgbouncer' }));
  const key = (await console.messagesTo('Z')).find(({ type }) => type === 'K')?.body ?? Buffer.alloc(8);
  const paused = runOn(console, 'PAUSE');
  await waitFor(async () =>
    (await stage.show('STATE')).some((row) => row['key'] === 'paused' && row['value'] === 'yes'),
  );
  const cancel = await connectPeer(stage.pooler.port);
  await cancel.send(frontend.cancelRequest(key.readInt32BE(0), key.subarray(4)));
  await cancel.end();
  await waitFor(async () =>
    (await stage.show('STATE')).some((row) => row['key'] === 'paused' && row['value'] === 'no'),
  );
  await client.query('COMMIT');
  await Promise.all([cancel.close(), client.end()]);
  expect(await within(paused, 'an answer to PAUSE')).toBe(
    'ERROR 57014 canceling statement due to user request',
  );
  await console.close();
});

test('a console that goes away while PAUSE waits leaves the pause in force', async () => {
  const client = await stage.pooler.client({ database: 'one' });
  await client.query('BEGIN');
  const console = await connectConsole(stage.pooler.port, sharedPostgres().user);
  await console.send(frontend.query('PAUSE'));
  await waitFor(async () =>
    (await stage.show('STATE')).some((row) => row['key'] === 'paused' && row['value'] === 'yes'),
  );
  await console.close();
  await client.query('COMMIT');
  await waitFor(async () => (await stage.show('SERVERS')).length === 0);
  const waiting = watch(client.query('SELECT 1'));
  await waitFor(async () => (await stage.poolOf('one'))?.['cl_waiting'] === 1);
  expect(await stage.run('RESUME')).toBe('RESUME');
  await waiting.promise;
  await client.end();
});

test('a database that is paused may be paused again, and one RESUME ends it', async () => {
  for (let i = 0; i < 2; i++) expect(await stage.run('PAUSE one')).toBe('PAUSE');
  expect(await stage.run('RESUME one')).toBe('RESUME');
  const client = await stage.pooler.client({ database: 'one' });
  await client.query('SELECT 1');
  await client.end();
});

test('a console that has waited many times has nothing left to listen to', async () => {
  const busy = await stage.pooler.client({ database: 'one' });
  await busy.query('BEGIN');
  const { signal } = new AbortController();
  const { control } = stage.pooler.pooler;
  for (let i = 0; i < 3; i++) {
    const waiting = control.request({ kind: 'pause', database: 'one' }, signal);
    // Each thread is asked.
    expect(getEventListeners(signal, 'abort')).toHaveLength(workersOfTests());
    await control.request({ kind: 'resume', database: 'one' }, signal);
    expect(await waiting).toMatchObject({ error: 'canceling statement due to user request' });
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  }
  await busy.end();
});
