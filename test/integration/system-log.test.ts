import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { DatagramPeer } from '../support/datagram-peer.ts';
import { spawnPooler } from '../support/pooler.ts';
import { allowRoot, DaemonHome, runProgram } from '../support/program.ts';
import { waitFor } from '../support/wait-for.ts';

test('syslog gets what the log has, under its name, and RELOAD turns it off', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgweir-l-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  using peer = new DatagramPeer(join(folder, 'log'));
  const own = { syslog_socket: peer.address };
  await using pooler = await spawnPooler({
    settings: { syslog: 1, syslog_ident: 'weir', syslog_facility: 'local1' },
    own,
  });
  const name = ` weir\\[${pooler.pid}\\]: `;
  // local1 is 17; 17 * 8 + 6.
  const up = await peer.next('the line of the start', (line) => line.includes('process up'));
  expect(up).toMatch(new RegExp(`^<142>\\w{3} [ \\d]\\d \\d\\d:\\d\\d:\\d\\d${name}process up: PgBouncer`));
  pooler.configure({ settings: { syslog: 0 }, own });
  pooler.signal('SIGHUP');
  await waitFor(() => pooler.stderr.includes('got SIGHUP'));
  await pooler.show('SHOW VERSION');
  const lines = peer.all().length;
  await (await pooler.client()).end();
  await waitFor(() => pooler.stderr.includes('login attempt: db=postgres'));
  expect(peer.all()).toHaveLength(lines);
});

test('-d with syslog that nobody listens to starts, with a warning', async () => {
  await using home = await DaemonHome.make({
    settings: { syslog: 1 },
    own: { syslog_socket: '/nowhere/at/all/log' },
  });
  const { code, stderr } = await runProgram(['-d', home.iniPath], { env: allowRoot });
  expect(code).toBe(0);
  expect(stderr.trim().split('\n')).toEqual([
    expect.stringMatching(
      / WARNING cannot write to the syslog \(no such file or directory\), its lines go to stderr$/,
    ),
  ]);
});

test('a stderr that is the journal’s is answered in the journal’s own form', async (context) => {
  // Its socket has a fixed place, so that place is one of our own in a namespace.
  const canUnshare = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'tmpfs', '/run']).status === 0;
  if (!canUnshare) return context.skip('no mount namespace: needs root and unshare');
  await using home = await DaemonHome.make({ settings: { syslog_ident: 'weir' } });
  const out = join(home.folder, 'journal');
  using peer = new DatagramPeer(out);
  const bin = resolve(import.meta.dirname, '../../src/cli/bin.ts');
  const script = `mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && ln -s "$1" /run/systemd/journal/socket
    JOURNAL_STREAM=$(stat -L -c %d:%i /dev/fd/2) && export JOURNAL_STREAM && exec "$2" "$3" "$4"`;
  const child = spawn('unshare', ['-m', 'sh', '-c', script, 'sh', out, process.execPath, bin, home.iniPath], {
    env: { ...process.env, ...allowRoot },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = new Promise((settle) => child.once('close', settle));
  const up = await peer.next('the line of the start', (text) => text.includes('process up'));
  expect(up).toMatch(/^PRIORITY=6\nSYSLOG_IDENTIFIER=weir\nMESSAGE\n.{8}process up: /s);
  home.signal('SIGTERM');
  await ended;
  expect(peer.all().some((text) => text.includes('got SIGTERM'))).toBe(true);
  expect(stderr).toBe('');
});
