import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { connectPeer } from '../support/scripted-peer.ts';
import { frontend } from '../support/peer-messages.ts';
import { allowRoot, DaemonHome, Program } from '../support/program.ts';
import { within } from '../support/wait-for.ts';

/** Runs it with a thread pool whose one thread is in a system call that does not end as soon as a name is looked up. */
function runHanging(home: DaemonHome, module: string): Program {
  const fifo = join(home.folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  // It waits for somebody who writes there, and whoever asks for a name waits for it.
  const hangs = `
    import names from '${module}';
    import { open, writeSync } from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    const { lookup } = names;
    names.lookup = (...args) => {
      open(${JSON.stringify(fifo)}, 'r', () => {});
      writeSync(2, 'asked');
      return lookup(...args);
    };
    syncBuiltinESMExports();`;
  const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(hangs)}`;
  return new Program([home.iniPath], { env: { ...allowRoot, UV_THREADPOOL_SIZE: '1', NODE_OPTIONS } });
}

test('a start that is ended while a name server does not answer is over at once', async () => {
  await using home = await DaemonHome.make({ settings: { listen_addr: 'localhost' } });
  await using program = runHanging(home, 'node:dns/promises');
  await program.says('asked');
  program.signal('SIGTERM');
  expect(await within(program.ended, 'its end', 20_000)).toMatchObject({ code: 0, signal: null });
  expect(home.log).toContain(' LOG got SIGTERM while starting, exiting\n');
});

test('so is a pooler of which a thread waits for one', async () => {
  await using home = await DaemonHome.make({
    databases: { far: 'host=far.test port=1' },
    own: { workers: 2 },
    userlist: { waiting: '' },
  });
  await using program = runHanging(home, 'node:dns');
  await program.says('process up');
  const peer = await connectPeer(home.port);
  await peer.send(frontend.startup({ user: 'waiting', database: 'far' }));
  await program.says('asked');
  program.signal('SIGQUIT');
  expect(await within(program.ended, 'its end', 20_000)).toMatchObject({ code: 0, signal: null });
  await peer.close();
});
