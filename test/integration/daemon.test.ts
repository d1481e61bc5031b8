import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { connectTo } from '../support/postgres.ts';
import { isAlive } from '../support/processes.ts';
import { allowRoot, DaemonHome, runProgram } from '../support/program.ts';
import { waitFor } from '../support/wait-for.ts';

const isRoot = process.geteuid?.() === 0;

/** A line of `/proc/PID/status`. */
function status(pid: number, name: string): string[] {
  const line = readFileSync(`/proc/${pid}/status`, 'latin1')
    .split('\n')
    .find((text) => text.startsWith(`${name}:`));
  return (line ?? '').split(/\s+/).slice(1).filter(Boolean);
}

async function works(home: DaemonHome): Promise<void> {
  const client = await connectTo(home.address);
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  await client.end();
}

describe('-d', () => {
  test('returns 0 when the pooler listens and its pidfile is written, and leaves it on its own', async () => {
    await using home = await DaemonHome.make();
    const { code, stdout, stderr } = await runProgram(['-d', home.iniPath], { env: allowRoot });
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '', stderr: '' });
    // No waiting: the verdict promises this much.
    await works(home);
    const pid = home.pid as number;
    expect(home.log).toContain(`[${pid}] LOG process up: `);
    const [sid, parent] = execFileSync('ps', ['-o', 'sid=,ppid=', '-p', String(pid)], { encoding: 'utf8' })
      .trim()
      .split(/\s+/)
      .map(Number);
    expect(sid).toBe(pid);
    expect(parent).not.toBe(process.pid);
    if (isRoot) {
      for (const fd of [0, 1, 2]) expect(readlinkSync(`/proc/${pid}/fd/${fd}`)).toBe('/dev/null');
    }
    home.signal('SIGTERM');
    await waitFor(() => !isAlive(pid));
    expect([existsSync(home.pidfile), existsSync(home.socketPath)]).toEqual([false, false]);
  });

  test('is named pgweir in the list of processes, with its arguments', async () => {
    await using home = await DaemonHome.make();
    await runProgram(['-d', home.iniPath], { env: allowRoot });
    const pid = home.pid as number;
    expect(status(pid, 'Name')[0]).toMatch(/^pgweir/);
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()).toBe(
      `pgweir -d ${home.iniPath}`,
    );
  });

  test('tells what keeps it from starting on its own stderr, and returns 1', async () => {
    await using home = await DaemonHome.make();
    const other = createServer();
    await new Promise<void>((settle) => other.listen(home.port, '127.0.0.1', settle));
    const { code, stderr } = await runProgram(['-d', home.iniPath], { env: allowRoot });
    other.close();
    expect(code).toBe(1);
    expect(stderr).toMatch(/ WARNING cannot listen on 127\.0\.0\.1:\d+: address already in use\n/);
    expect(stderr).toMatch(/ FATAL cannot listen on any address of listen_addr\n$/);
    // Quiet otherwise.
    expect(stderr).not.toContain(' LOG ');
    expect(existsSync(home.pidfile)).toBe(false);
  });

  test('tells of a bug, too, which nobody would hear of else', async () => {
    await using home = await DaemonHome.make();
    const sabotage = 'process.geteuid = () => { throw new Error("sabotaged"); }';
    const { code, stderr } = await runProgram(['-d', home.iniPath], {
      env: { ...allowRoot, NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(sabotage)}` },
    });
    expect(code).toBe(1);
    expect(stderr).toMatch(/ FATAL internal error: Error: sabotaged\n\t +at /);
  });

  test('is refused while one runs, and without a pidfile', async () => {
    await using home = await DaemonHome.make();
    expect((await runProgram(['-d', home.iniPath], { env: allowRoot })).code).toBe(0);
    const { pid } = home;
    const second = await runProgram(['-d', home.iniPath], { env: allowRoot });
    expect(second.code).toBe(1);
    expect(second.stderr).toMatch(/ FATAL unix socket is in use, cannot continue\n$/);
    expect(home.pid).toBe(pid);
    await using bare = await DaemonHome.make({ settings: { pidfile: '' } });
    const { code, stderr } = await runProgram(['-d', bare.iniPath], { env: allowRoot });
    expect(code).toBe(1);
    expect(stderr).toMatch(/ FATAL -d needs the setting pidfile\n$/);
  });

  test.each([
    [
      '[pgbouncer]\nlisten_port = many\n',
      / ERROR \S+:2: listen_port: .*\n.* FATAL cannot load config file\n$/,
    ],
    [
      '[pgbouncer]\npidfile = /nowhere/at/all/p\nlisten_addr = 127.0.0.1\n',
      / FATAL could not open pidfile: .*\n$/,
    ],
  ])('with %j returns 1 and says why', async (text, expected) => {
    await using home = await DaemonHome.make();
    writeFileSync(home.iniPath, `${text}unix_socket_dir = ${home.folder}\nlisten_port = ${home.port}\n`);
    if (text.includes('many')) writeFileSync(home.iniPath, text);
    const { code, stderr } = await runProgram(['-d', home.iniPath], { env: allowRoot });
    expect(code).toBe(1);
    expect(stderr).toMatch(expected);
  });

  test('that is given up while it starts leaves nothing behind', async () => {
    // The start hangs where the user list is a pipe that nobody writes to.
    await using home = await DaemonHome.make();
    const fifo = `${home.folder}/userlist.fifo`;
    execFileSync('mkfifo', [fifo]);
    writeFileSync(home.iniPath, `[pgbouncer]\nauth_file = ${fifo}\npidfile = ${home.pidfile}\n`);
    const bin = resolve(import.meta.dirname, '../../src/cli/bin.ts');
    const parent = spawn(process.execPath, [bin, '-d', home.iniPath], {
      env: { ...process.env, ...allowRoot },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    parent.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const ended = new Promise<number | null>((settle) => parent.once('close', (code) => settle(code)));
    const child = await waitFor(() => childOf(parent.pid as number));
    // The child must be in the read, or the signal would only have hit its first lines.
    await waitFor(() => status(child, 'Name')[0]?.startsWith('pgweir'));
    parent.kill('SIGTERM');
    expect(await ended).toBe(1);
    expect(stderr).toBe('pgweir: the daemon ended while it was starting (SIGTERM)\n');
    expect(isAlive(child)).toBe(false);
  });
});

/** The first child of a process, null while it has none. */
function childOf(pid: number): number | null {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim();
  return text === '' ? null : Number(text.split(' ')[0]);
}

describe('root', () => {
  const needsRoot = 'only root can run it as another user';

  test('is refused, with and without -d, before anything is made', async (context) => {
    if (!isRoot) return context.skip(needsRoot);
    await using home = await DaemonHome.make();
    for (const args of [[home.iniPath], ['-d', home.iniPath], ['-q', home.iniPath]]) {
      const { code, stderr } = await runProgram(args, { env: { PGWEIR_ALLOW_ROOT: '' } });
      expect(code).toBe(1);
      expect(stderr).toMatch(
        / FATAL should not run as root \(-u or the setting user names another user\)\n$/,
      );
    }
    expect([existsSync(home.logfile), existsSync(home.pidfile)]).toEqual([false, false]);
  });

  test.each([
    ['-u', ['-u', 'nobody'], {}],
    ['the setting user', [], { user: 'nobody' }],
    ['-u, which wins over the setting', ['--user=nobody'], { user: 'no-such-user-here' }],
  ])('becomes another user by %s, for good, and everything it makes is that user’s', async (_, args, settings) => {
    if (!isRoot) {
      process.stderr.write(`not tried: ${needsRoot}\n`);
      return;
    }
    await using home = await DaemonHome.make({ settings });
    home.giveTo('nobody');
    const [uid, gid] = ['-u', '-g'].map((flag) =>
      execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' }).trim(),
    ) as [string, string];
    const run = await runProgram(['-d', ...args, home.iniPath], { env: { PGWEIR_ALLOW_ROOT: '' } });
    expect(run).toMatchObject({ code: 0, stderr: '' });
    const pid = home.pid as number;
    // Real, effective, saved and file system.
    expect(status(pid, 'Uid')).toEqual([uid, uid, uid, uid]);
    expect(status(pid, 'Gid')).toEqual([gid, gid, gid, gid]);
    expect(status(pid, 'Groups')).toEqual([gid]);
    expect(status(pid, 'CapEff')).toEqual(['0000000000000000']);
    for (const path of [home.pidfile, home.logfile, home.socketPath]) {
      expect(statSync(path)).toMatchObject({ uid: Number(uid), gid: Number(gid) });
    }
    await works(home);
  });

  test('is every thread’s user, too', async (context) => {
    if (!isRoot) return context.skip(needsRoot);
    await using home = await DaemonHome.make();
    await runProgram(['-d', '-u', 'nobody', home.iniPath], { env: { PGWEIR_ALLOW_ROOT: '' } });
    const pid = home.pid as number;
    const threads = execFileSync('sh', ['-c', `grep -h ^Uid: /proc/${pid}/task/*/status`], {
      encoding: 'utf8',
    });
    const lines = threads.trim().split('\n');
    expect(lines.length).toBeGreaterThan(1);
    for (const line of lines) expect(line).not.toMatch(/\b0\b/);
  });

  test('that asks for root by name stays refused; an unknown user is', async (context) => {
    if (!isRoot) return context.skip(needsRoot);
    await using home = await DaemonHome.make();
    const env = { PGWEIR_ALLOW_ROOT: '' };
    const asRoot = await runProgram(['-u', 'root', home.iniPath], { env });
    expect(asRoot.code).toBe(1);
    expect(asRoot.stderr).toContain('FATAL should not run as root');
    const unknown = await runProgram(['-u', 'no-such-user-here', home.iniPath], { env });
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toMatch(/ FATAL there is no system user "no-such-user-here" to run as\n$/);
  });

  test('is what -u needs, unless it names who we are already', async (context) => {
    if (!isRoot) return context.skip(needsRoot);
    await using home = await DaemonHome.make();
    home.giveTo('nobody');
    const env = { PGWEIR_ALLOW_ROOT: '' };
    // The sources are readable for everybody, or Node would not even start.
    const wrapper = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups'];
    const other = await runProgram(['-d', '-u', 'daemon', home.iniPath], { env, wrapper });
    expect(other).toMatchObject({ code: 1 });
    expect(other.stderr).toMatch(/ FATAL only root can run it as another user \("daemon"\)\n$/);
    const same = await runProgram(['-d', '-u', 'nobody', home.iniPath], { env, wrapper });
    expect(same).toMatchObject({ code: 0, stderr: '' });
    await works(home);
  });
});

describe('the limit of open files', () => {
  test('is raised as far as it goes, and one that may not do is warned about', async () => {
    const settings = { max_client_conn: 200 };
    for (const [limit, isLow] of [
      ['100:150', true],
      ['100:400', false],
    ] as const) {
      await using home = await DaemonHome.make({ settings });
      const wrapper = ['prlimit', `--nofile=${limit}`];
      const { code, stderr } = await runProgram(['-d', home.iniPath], { env: allowRoot, wrapper });
      const hard = limit.split(':')[1];
      expect(code).toBe(0);
      expect(home.log).toContain(
        ` LOG kernel file descriptor limit: ${hard} (hard: ${hard}); max_client_conn: 200, max expected fd use: 200\n`,
      );
      expect(stderr.includes(' WARNING the file descriptor limit is below the expected use: ')).toBe(isLow);
    }
  });
});

describe('the memory of the process', () => {
  test('is nobody’s to read or dump but root’s', async () => {
    await using home = await DaemonHome.make();
    await runProgram(['-d', home.iniPath], { env: allowRoot });
    // What an undumpable process has of its own in /proc belongs to root, whoever runs it.
    if (isRoot) {
      await using other = await DaemonHome.make();
      await runProgram(['-d', '-u', 'nobody', other.iniPath]);
      expect(status(other.pid as number, 'Uid')[0]).not.toBe('0');
      expect(statSync(`/proc/${other.pid}/mem`).uid).toBe(0);
      const asItself = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups'];
      expect(() =>
        execFileSync('setpriv', [...asItself.slice(1), 'cat', `/proc/${other.pid}/environ`], {
          stdio: 'pipe',
        }),
      ).toThrow(/Permission denied/);
    } else {
      expect(statSync(`/proc/${home.pid}/mem`).uid).toBe(0);
    }
  });
});
