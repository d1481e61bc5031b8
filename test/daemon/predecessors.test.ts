import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

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
