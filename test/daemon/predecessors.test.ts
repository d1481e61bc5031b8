import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { Predecessors, secondNamePrefix } from '../../src/daemon/predecessors.ts';
import { socketFileIdentity } from '../../src/net/unix-socket.ts';
import { backend } from '../support/peer-messages.ts';
import { playConsole } from '../support/scripted-console.ts';
import { ScriptedServer } from '../support/scripted-peer.ts';

const module = resolve(import.meta.dirname, '../../src/daemon/predecessors.ts');

test('a process is not taken for ended where we have no descriptor to ask it with', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgweir-answers-'));
  try {
    const script = `
      import { openSync } from 'node:fs';
      import { createServer } from 'node:net';
      import { answers } from ${JSON.stringify(module)};
      const path = ${JSON.stringify(join(folder, 'socket'))};
      const before = await answers(path);
      const server = createServer().listen(path);
      await new Promise((up) => server.once('listening', up));
      let code = '';
      while (code === '') try { openSync('/dev/null'); } catch (error) { code = error.code; }
      process.stdout.write([code, before, await answers(path)].join(' '));
      process.exit(0);`;
    const child = spawnSync(
      'sh',
      ['-c', 'ulimit -n 100; exec "$@"', 'sh', process.execPath, '--input-type=module', '-e', script],
      { encoding: 'utf8' },
    );
    expect(child.stderr).toBe('');
    expect(child.stdout).toBe('EMFILE false true');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a process whose place was taken is told to leave until it answers, but for the one whose turn comes later', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgweir-told-'));
  const name = (suffix: string) => join(folder, `${secondNamePrefix(6432)}${suffix}`);
  await using _own = await ScriptedServer.listen(join(folder, '.s.PGSQL.6432'));
  await using deaf = await ScriptedServer.listen(name('deaf'));
  await using taken = await ScriptedServer.listen(name('taken'));
  const predecessors = new Predecessors(folder, 6432, () => {});
  try {
    predecessors.adopt(true, socketFileIdentity(name('taken')));
    const LEAVE = 'SHUTDOWN WAIT_FOR_CLIENTS';
    await (await playConsole(deaf, '', LEAVE)).close();
    const asked = await playConsole(deaf, '', LEAVE);
    await asked.send(backend.commandComplete('SHUTDOWN'), backend.readyForQuery());
    // With both it is only looked whether they are there, now and so far.
    for (const server of [deaf, taken, taken])
      await expect(server.acceptLogin()).rejects.toThrow('the peer closed');
  } finally {
    predecessors.leave();
    rmSync(folder, { recursive: true });
  }
});
