import { readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { Takeover } from '../../src/daemon/takeover.ts';
import { runAlone } from '../support/console.ts';
import type { Section } from '../support/pooler-config.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { isAlive } from '../support/processes.ts';
import { allowRoot, DaemonHome, runProgram } from '../support/program.ts';
import { RawListener } from '../support/raw-listener.ts';
import { expectServed, namesLeft, runIn, sharing, startSharing } from '../support/sharing-home.ts';
import { waitFor } from '../support/wait-for.ts';

describe('-R is refused, and the running one goes on,', () => {
  /** Tries it with other settings than those that the running one has. */
  async function refused(home: DaemonHome, changes: Section): Promise<string> {
    const own = readFileSync(home.iniPath, 'utf8');
    const before = [home.pid, namesLeft(home), statSync(home.socketPath).ino];
    const changed = Object.entries(changes).reduce(
      (text, [key, value]) => text.replace(new RegExp(`^${key} = .*$`, 'm'), `${key} = ${value}`),
      own,
    );
    writeFileSync(home.iniPath, changed);
    const { code, stderr } = await runIn(home, '-R', '-d');
    writeFileSync(home.iniPath, own);
    expect(code).toBe(1);
    expect([home.pid, namesLeft(home), statSync(home.socketPath).ino]).toEqual(before);
    await expectServed(home);
    await expectServed(home, home.folder);
    return (
      stderr
        .trim()
        .split('\n')
        .at(-1)
        ?.replace(/^.* FATAL /, '') ?? ''
    );
  }

  test('when the new one does not share its port, or cannot start for another reason', async () => {
    await using home = await startSharing();
    expect(await refused(home, { so_reuseport: 0 })).toBe(
      '-R needs so_reuseport = 1, here and in the running process',
    );
    expect(await refused(home, { listen_addr: '192.0.2.1' })).toBe(
      'cannot listen on any address of listen_addr',
    );
    expect(await refused(home, { unix_socket_dir: `@${home.folder}` })).toBe(
      '-R needs a unix socket in a folder (unix_socket_dir)',
    );
    expect(await refused(home, { pidfile: '/nowhere/at/all/pid' })).toMatch(/^could not open pidfile: /);
    expect(await refused(home, { listen_port: 'many' })).toBe('cannot load config file');
  });

  test('before it has shared the port, when its unix socket cannot be had', async () => {
    await using home = await startSharing({ unix_socket_group: process.getgid?.() ?? 0 });
    const listening = `LOG listening on 127.0.0.1:${home.port}\n`;
    expect(home.log.split(listening)).toHaveLength(2);
    expect(await refused(home, { unix_socket_group: 'nobody-is-in-it' })).toMatch(/nobody-is-in-it/);
    expect(home.log.split(listening)).toHaveLength(2);
  });

  test('when its pidfile is not the one that the running one has, but somebody’s', async () => {
    await using home = await startSharing();
    const other = join(home.folder, 'other.pid');
    for (const [text, expected] of [
      [`${process.pid}\n`, `pidfile '${other}' exists, another instance running?`],
      ['[databases]\n', `pidfile '${other}' exists, another instance running?`],
    ] as const) {
      writeFileSync(other, text);
      expect(await refused(home, { pidfile: other })).toBe(expected);
      expect(readFileSync(other, 'utf8')).toBe(text);
    }
    expect(await refused(home, { pidfile: home.folder })).toMatch(/^could not read pidfile: EISDIR/);
  });

  test('leaves the running one its unix socket where it cannot be done at last', async () => {
    await using home = await startSharing();
    const { ino } = statSync(home.socketPath);
    const { settings: own } = loadConfig(home.iniPath, null);
    const host = { log: { enabled: () => false, log: () => {} }, ended: new AbortController().signal };
    const takeover = (await Takeover.begin(own, host)) as Takeover;
    // As it is when ours had taken its place and is closed again.
    unlinkSync(home.socketPath);
    takeover.end();
    expect(statSync(home.socketPath).ino).toBe(ino);
    expect(namesLeft(home)).toEqual([`.s.PGSQL.${home.port}`, 'pooler.pid']);
    await expectServed(home, home.folder);
    // Whoever is there by then stays, and the running one keeps a name.
    const late = (await Takeover.begin(own, host)) as Takeover;
    unlinkSync(home.socketPath);
    using other = new RawListener(home.socketPath);
    expect(other.fd).toBeGreaterThan(0);
    const { ino: othersIno } = statSync(home.socketPath);
    late.end();
    expect(statSync(home.socketPath).ino).toBe(othersIno);
    const second = expect.stringMatching(/^\.pgweir\./);
    expect(namesLeft(home)).toEqual([second, `.s.PGSQL.${home.port}`, 'pooler.pid']);
  });

  test('when the running one does not share its port', async () => {
    await using home = await startSharing({ so_reuseport: 0 });
    expect(await refused(home, { so_reuseport: 1 })).toBe(
      '-R needs so_reuseport = 1 in the running process, too',
    );
  });

  test('when the running one is paused', async () => {
    await using home = await startSharing();
    await runAlone(home.socketPath, sharedPostgres().user, 'PAUSE');
    const { code, stderr } = await runIn(home, '-R', '-d');
    expect(code).toBe(1);
    expect(stderr).toMatch(/ FATAL -R cannot take over from a paused process: RESUME it\n$/);
    await runAlone(home.socketPath, sharedPostgres().user, 'RESUME');
    await home.takeOver();
  });

  test('when one of its databases is paused', async () => {
    await using home = await startSharing();
    const { user } = sharedPostgres();
    await runAlone(home.socketPath, user, 'PAUSE kept');
    const { code, stderr } = await runIn(home, '-R', '-d');
    expect(code).toBe(1);
    expect(stderr).toMatch(/ FATAL -R cannot take over from a process with paused databases: RESUME kept\n$/);
    await runAlone(home.socketPath, user, 'RESUME kept');
    await home.takeOver();
  });

  test('when another one has been quicker', async () => {
    await using home = await startSharing();
    const before = home.pid as number;
    // Both find it, and neither gets an answer before the other waits for one, too.
    process.kill(before, 'SIGSTOP');
    const runs = [runIn(home, '-R', '-d'), runIn(home, '-R', '-d')];
    const waiting = () => namesLeft(home).filter((name) => name.startsWith('.pgweir.')).length;
    await waitFor(() => waiting() === 2, { what: 'both to have found it' });
    process.kill(before, 'SIGCONT');
    const ends = (await Promise.all(runs)).sort((a, b) => Number(a.code) - Number(b.code));
    expect(ends.map(({ code }) => code)).toEqual([0, 1]);
    expect(ends[1]?.stderr).toMatch(
      / FATAL (unix socket is in use, cannot continue|the running process does not answer .*)\n$/,
    );
    await waitFor(() => !isAlive(before));
    const after = home.pid as number;
    expect(isAlive(after)).toBe(true);
    await expectServed(home);
    await expectServed(home, home.folder);
    await waitFor(() => namesLeft(home).length === 2, { what: 'the old one to be forgotten' });
    expect(namesLeft(home)).toEqual([`.s.PGSQL.${home.port}`, 'pooler.pid']);
  });

  // It waits for an answer for 10 s, which is as long as any test may take where faults are tried out.
  test('when whoever has the socket is no pooler', { timeout: 30_000 }, async () => {
    await using home = await DaemonHome.make({ settings: sharing });
    using other = new RawListener(home.socketPath);
    expect(other.fd).toBeGreaterThan(0);
    const pretend = connectAndTalk(home.socketPath);
    const { code, stderr } = await runIn(home, '-R', '-d');
    pretend();
    expect(code).toBe(1);
    expect(stderr).toMatch(
      / FATAL the running process does not answer to SHOW VERSION: no answer within 10 s\n$/,
    );
    expect(namesLeft(home)).toEqual([`.s.PGSQL.${home.port}`]);
  });

  test('when the sockets are the service manager’s', async () => {
    await using home = await startSharing();
    using tcp = new RawListener();
    const { code, stderr } = await runProgram(['-R', home.iniPath], {
      env: { ...allowRoot, LISTEN_FDS: '1' },
      wrapper: ['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh'],
      fds: [tcp.fd],
    });
    expect(code).toBe(1);
    expect(stderr).toMatch(/ FATAL -R does not go together with sockets from the service manager\n$/);
    await expectServed(home);
  });
});

/** Keeps a connection to the socket open, so that it has a queue; gives the way to end it. */
function connectAndTalk(path: string): () => void {
  const socket = connect({ path });
  socket.on('error', () => {});
  return () => void socket.destroy();
}
