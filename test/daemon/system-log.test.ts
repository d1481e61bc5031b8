import { fstatSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { LogLevel } from '../../src/base/log.ts';
import type { DaemonLog, LogEnvironment, LogSettings } from '../../src/daemon/log.ts';
import { isJournalStream } from '../../src/daemon/system-log.ts';
import { openNative } from '../../src/net/native.ts';
import { DatagramPeer } from '../support/datagram-peer.ts';
import { LogStage } from './log-stage.ts';

const { datagram } = openNative();
const plain: LogSettings = { logfile: '', quiet: true, verbose: 0, format: 'pgbouncer' };
const stage = new LogStage(plain);

function openLog(settings: Partial<LogSettings>, environment: LogEnvironment = {}): DaemonLog {
  return stage.open(settings, { datagram, ...environment });
}

/** What stderr has got, less time stamps. */
function stderr(): string[] {
  return readFileSync(stage.path('stderr'), 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => line.replace(/\d{4}-.*? \[/, '['));
}

describe('syslog', () => {
  const settings = (socket: string, more = {}): Partial<LogSettings> => ({
    syslog: { ident: 'pooler', facility: 'local3', socket, ...more },
  });

  it('gets each line with facility, level, time, name and process id', () => {
    using peer = new DatagramPeer(stage.path('log'));
    openLog(settings(peer.address));
    for (const level of ['FATAL', 'ERROR', 'WARNING', 'LOG'] as const) stage.log.log(level, `a ${level}`);
    // local3 is 19: 19 * 8 + severity. The time is the process's local one.
    expect(peer.all()).toEqual([
      expect.stringMatching(/^<154>Jan  \d \d\d:\d\d:05 pooler\[99\]: a FATAL$/),
      expect.stringMatching(/^<155>Jan  \d \d\d:\d\d:05 pooler\[99\]: a ERROR$/),
      expect.stringMatching(/^<156>Jan  \d \d\d:\d\d:05 pooler\[99\]: a WARNING$/),
      expect.stringMatching(/^<158>Jan  \d \d\d:\d\d:05 pooler\[99\]: a LOG$/),
    ]);
  });

  it.each([
    ['auth', 4],
    ['AUTHPRIV', 10],
    ['daemon', 3],
    ['user', 1],
    ['local0', 16],
    ['local7', 23],
    ['local8', 3],
    ['kern', 3],
  ])('takes the facility %s for number %i', (facility, number) => {
    using peer = new DatagramPeer('@pgweir-test-' + process.pid);
    openLog(settings(peer.address, { facility })).log('LOG', 'x');
    expect(peer.all()[0]).toMatch(new RegExp(`^<${number * 8 + 6}>`));
  });

  it('gets no DEBUG line, whatever verbose says, and no second line out of one message', () => {
    using peer = new DatagramPeer(stage.path('log'));
    openLog({ ...settings(peer.address), verbose: 2 });
    for (const level of ['DEBUG', 'NOISE'] satisfies LogLevel[]) stage.log.log(level, 'fine print');
    stage.log.log('LOG', 'one\n<0>two\x1b[0m');
    expect(peer.all().map((line) => line.replace(/^.*?\]: /, ''))).toEqual(['one <0>two\\x1b[0m']);
  });

  it('follows RELOAD: on, to another place, off', () => {
    using first = new DatagramPeer(stage.path('first'));
    using second = new DatagramPeer(stage.path('second'));
    openLog({});
    for (const [text, to] of [
      ['1', null],
      ['2', first],
      ['3', second],
      ['4', null],
    ] as const) {
      stage.log.configure({ ...plain, ...(to === null ? {} : settings(to.address)) });
      stage.log.log('LOG', text);
    }
    expect([first.all().length, second.all().length]).toEqual([1, 1]);
    expect(stderr()).toEqual([]);
  });

  it('that is not there costs one warning, and lines go to stderr until it is back', () => {
    const path = stage.path('log');
    openLog(settings(path));
    for (const text of ['one', 'two']) stage.log.log('LOG', text);
    const warning =
      '[99] WARNING cannot write to the syslog (no such file or directory), its lines go to stderr';
    expect(stderr()).toEqual(['[99] LOG one', warning, '[99] LOG two']);
    {
      using peer = new DatagramPeer(path);
      stage.log.log('LOG', 'three');
      expect(peer.all()).toHaveLength(1);
    }
    stage.log.log('LOG', 'four');
    expect(stderr().slice(3)).toEqual(['[99] LOG four', warning]);
  });

  it('whose queue is full does not hold the pooler up', () => {
    using peer = new DatagramPeer(stage.path('log'));
    openLog(settings(peer.address));
    const long = 'x'.repeat(40_000);
    let lines = 0;
    while (stderr().length === 0 && lines < 10_000) {
      lines++;
      stage.log.log('LOG', long);
    }
    expect(stderr()[1]).toMatch(/cannot write to the syslog \(resource temporarily unavailable\)/);
    expect(peer.all().length).toBe(lines - 1);
  });

  it('without native calls is one warning', () => {
    openLog(settings('/dev/log'), { datagram: () => null });
    for (const text of ['one', 'two']) stage.log.log('LOG', text);
    const warning =
      '[99] WARNING cannot write to the syslog (not possible on this system), its lines go to stderr';
    expect(stderr()).toEqual(['[99] LOG one', warning, '[99] LOG two']);
  });
});

it('a way to a system log that could not be opened at first is opened when it can be', () => {
  using syslog = new DatagramPeer(stage.path('syslog'));
  using journal = new DatagramPeer(stage.path('journal'));
  let hasDescriptors = false;
  openLog(
    { quiet: false, syslog: { ident: 'pooler', facility: 'daemon', socket: syslog.address } },
    { datagram: (address) => (hasDescriptors ? datagram(address) : null), journal: journal.address },
  );
  stage.log.log('LOG', 'one');
  hasDescriptors = true;
  stage.log.log('LOG', 'two');
  expect([syslog, journal].map((peer) => peer.all().filter((text) => /two/.test(text)).length)).toEqual([
    1, 1,
  ]);
  expect(stderr().filter((line) => line.includes('two'))).toEqual([]);
});

describe('the journal', () => {
  const on = (journal: string): LogEnvironment => ({ journal });

  /** The fields of a datagram in the journal's native form. */
  function fields(text: string): Record<string, string> {
    const bytes = Buffer.from(text, 'latin1');
    const found: Record<string, string> = {};
    for (let at = 0; at < bytes.length; ) {
      const end = bytes.indexOf('\n', at);
      const head = bytes.toString('utf8', at, end);
      const equals = head.indexOf('=');
      if (equals >= 0) {
        found[head.slice(0, equals)] = head.slice(equals + 1);
        at = end + 1;
      } else {
        const length = Number(bytes.readBigUInt64LE(end + 1));
        found[head] = bytes.toString('utf8', end + 9, end + 9 + length);
        expect(bytes[end + 9 + length]).toBe(0x0a);
        at = end + 10 + length;
      }
    }
    return found;
  }

  it('gets level, name and message in its own form, and stderr nothing', () => {
    using peer = new DatagramPeer(stage.path('journal'));
    openLog({ quiet: false, journalIdent: 'pooler' }, on(peer.address));
    stage.log.log('WARNING', 'one\nPRIORITY=0\ntwo');
    stage.log.log('LOG', '');
    expect(peer.all().map(fields)).toEqual([
      { PRIORITY: '4', SYSLOG_IDENTIFIER: 'pooler', MESSAGE: 'one\n\tPRIORITY=0\n\ttwo' },
      { PRIORITY: '6', SYSLOG_IDENTIFIER: 'pooler', MESSAGE: '' },
    ]);
    expect(stderr()).toEqual([]);
  });

  it('gets nothing from a quiet pooler', () => {
    using peer = new DatagramPeer(stage.path('journal'));
    openLog({}, on(peer.address)).log('LOG', 'x');
    expect(peer.all()).toEqual([]);
  });

  it('gets a message as long as it may be, cut', () => {
    using peer = new DatagramPeer(stage.path('journal'));
    openLog({ quiet: false }, on(peer.address)).log('LOG', 'x'.repeat(1 << 20));
    expect(fields(peer.all()[0] ?? '')['MESSAGE']).toHaveLength(48 * 1024);
    expect(stderr()).toEqual([]);
  });

  it('that is not there is reached by way of stderr, with levels', () => {
    openLog({ quiet: false }, on(stage.path('nobody')));
    stage.log.log('ERROR', 'x');
    stage.log.log('LOG', 'y');
    const warning =
      '<4>[99] WARNING cannot write to the journal (no such file or directory), its lines go to stderr';
    expect(stderr()).toEqual(['<3>[99] ERROR x', warning, '<6>[99] LOG y']);
  });

  it('is where stderr leads when JOURNAL_STREAM names the same file', () => {
    const { dev, ino } = fstatSync(stage.stderrFd, { bigint: true });
    expect(isJournalStream(`${dev}:${ino}`, stage.stderrFd)).toBe(true);
    for (const value of [`${dev}:${ino + 1n}`, `${dev + 1n}:${ino}`, `${dev}`, '', 'x:y', undefined]) {
      expect(isJournalStream(value, stage.stderrFd)).toBe(false);
    }
    expect(isJournalStream(`${dev}:${ino}`, 9999)).toBe(false);
  });
});
