import { mkdtempSync, readdirSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import type { Settings } from '../../src/config/settings.ts';
import { Takeover } from '../../src/daemon/takeover.ts';
import { RecordingLog } from '../net/listener-kit.ts';
import { backend } from '../support/peer-messages.ts';
import { writePoolerConfig } from '../support/pooler-config.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { sharing } from '../support/sharing-home.ts';
import { playConsole } from '../support/scripted-console.ts';
import { ScriptedServer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';

const SHUTDOWN = 'SHUTDOWN WAIT_FOR_CLIENTS';
const FIRST = '.s.PGSQL.6432';

let folder: string;
let settings: Settings;
let log: RecordingLog;
let end: AbortController;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pgweir-takeover-'));
  const address = sharedPostgres();
  const ini = writePoolerConfig(folder, address, { settings: { ...sharing, listen_port: 6432 } });
  ({ settings } = loadConfig(ini, null));
  log = new RecordingLog();
  end = new AbortController();
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

const begin = () => Takeover.begin(settings, { log, ended: end.signal });
const names = () => readdirSync(folder).filter((name) => name.startsWith('.'));

test('a takeover is given up as soon as the start is ended, and leaves no trace', async () => {
  await using old = await ScriptedServer.listen(join(folder, FIRST));
  const beginning = begin();
  // Which gets no answer.
  await playConsole(old, '', 'SHOW STATE');
  end.abort(new Error('got SIGTERM'));
  await expect(beginning).rejects.toThrow('got SIGTERM');
  expect(names()).toEqual([FIRST]);
});

test('an old process that does not answer to SHUTDOWN is asked again until it does', async () => {
  await using old = await ScriptedServer.listen(join(folder, FIRST));
  const asked = playConsole(old, '', SHUTDOWN);
  const takeover = (await begin()) as Takeover;
  const shutDown = takeover.shutDownOld();
  for (let times = 0; times < 2; times++) {
    const peer = times === 0 ? await asked : await playConsole(old, '', SHUTDOWN);
    await peer.close();
  }
  await shutDown;
  const last = await playConsole(old, '', SHUTDOWN);
  await last.send(backend.commandComplete('SHUTDOWN'), backend.readyForQuery());
  await waitFor(() => log.lines.length === 2);
  expect(log.lines).toEqual([
    `ERROR the running process does not answer to ${SHUTDOWN}: the server has closed the connection: ` +
      'it may serve clients, too, and is asked again until it answers or ends',
    'LOG the running process has answered at last, or has ended',
  ]);
  // Its socket has its second name for cancel requests, for as long as it is there.
  takeover.end();
  expect(names()).toHaveLength(2);
});

test('an old process that has ended instead of answering has done what it should', async () => {
  let takeover: Takeover;
  {
    await using old = await ScriptedServer.listen(join(folder, FIRST));
    const found = begin();
    const asked = playConsole(old, '', SHUTDOWN);
    takeover = (await found) as Takeover;
    void asked.catch(() => {});
  }
  await takeover.shutDownOld();
  takeover.end();
  expect(log.lines).toEqual([]);
});

test('an old process that has not answered in the end keeps the name by which it is found, and has no other', async () => {
  await using old = await ScriptedServer.listen(join(folder, FIRST));
  const asked = playConsole(old, '', SHUTDOWN);
  const takeover = (await begin()) as Takeover;
  const shutDown = takeover.shutDownOld();
  await (await asked).close();
  await shutDown;
  // Ours, which had its place, is closed. It may have heard, and leave: it gets no place that it would not fill.
  unlinkSync(join(folder, FIRST));
  takeover.end();
  expect(names()).toEqual([expect.stringMatching(/^\.pgweir\.6432\./)]);
  expect(log.lines.at(-1)).toBe(
    `WARNING the old process has not answered to ${SHUTDOWN} so far: the next start asks it again`,
  );
});

test('a takeover that is not done leaves the old process its place, or else the name by which it is found', async () => {
  await using old = await ScriptedServer.listen(join(folder, FIRST));
  const { ino } = statSync(join(folder, FIRST));
  void playConsole(old, '', SHUTDOWN).catch(() => {});
  for (const place of ['its own', 'nobody’s', 'somebody else’s']) {
    const takeover = (await begin()) as Takeover;
    if (place !== 'its own') unlinkSync(join(folder, FIRST));
    if (place === 'somebody else’s') writeFileSync(join(folder, FIRST), '');
    takeover.end();
    const [only = '', ...others] = names().filter((name) => statSync(join(folder, name)).ino === ino);
    expect(others).toEqual([]);
    expect(only).toMatch(place === 'somebody else’s' ? /^\.pgweir\.6432\./ : /^\.s\.PGSQL\.6432$/);
  }
});
