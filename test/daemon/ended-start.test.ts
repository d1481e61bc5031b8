import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { allowRoot, DaemonHome, Program } from '../support/program.ts';
import { within } from '../support/wait-for.ts';

test('a start that is ended while a name server does not answer is over at once', async () => {
  await using home = await DaemonHome.make({ settings: { listen_addr: 'localhost' } });
  const fifo = join(home.folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  // The one thread for such calls waits for somebody who writes there: so does whoever asks for a name.
  const hangs = `
    import names from 'node:dns/promises';
    import { open } from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    const { lookup } = names;
    names.lookup = (...args) => {
      open(${JSON.stringify(fifo)}, 'r', () => {});
      process.stderr.write('asked');
      return lookup(...args);
    };
    syncBuiltinESMExports();`;
  const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(hangs)}`;
  await using program = new Program([home.iniPath], {
    env: { ...allowRoot, UV_THREADPOOL_SIZE: '1', NODE_OPTIONS },
  });
  await program.says('asked');
  program.signal('SIGTERM');
  expect(await within(program.ended, 'its end', 20_000)).toMatchObject({ code: 0, signal: null });
  expect(home.log).toContain(' LOG got SIGTERM while starting, exiting\n');
});
