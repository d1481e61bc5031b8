import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DaemonLog, type LogSettings } from '../../src/daemon/log.ts';
import { ManualClock } from '../support/manual-clock.ts';

let dir: string;
let stderrFd: number;
let log: DaemonLog | null;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pgweir-log-'));
  stderrFd = openSync(join(dir, 'stderr'), 'a');
  log = null;
});

afterEach(() => {
  log?.close();
  closeSync(stderrFd);
  rmSync(dir, { recursive: true, force: true });
});

const plain: LogSettings = { logfile: '', quiet: false, verbose: 0, format: 'pgbouncer' };

function openLog(settings: Partial<LogSettings>): DaemonLog {
  log = new DaemonLog({ ...plain, ...settings }, { clock: new ManualClock(), pid: 99, stderrFd });
  return log;
}

/** The lines of a file in the test's folder, less the time stamp in front. */
function lines(name: string): string[] {
  return readFileSync(join(dir, name), 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => line.replace(/^.*? \[/, '['));
}

describe('the log', () => {
  it('writes every line to the logfile and to stderr at once', () => {
    openLog({ logfile: join(dir, 'log') }).log('LOG', 'process up');
    expect(lines('log')).toEqual(['[99] LOG process up']);
    expect(lines('stderr')).toEqual(['[99] LOG process up']);
  });

  it('spares stderr when quiet', () => {
    openLog({ logfile: join(dir, 'log'), quiet: true }).log('LOG', 'process up');
    expect(lines('log')).toEqual(['[99] LOG process up']);
    expect(lines('stderr')).toEqual([]);
  });

  it('appends to a logfile that is there already', () => {
    openLog({ logfile: join(dir, 'log') }).log('LOG', 'one');
    log?.close();
    openLog({ logfile: join(dir, 'log') }).log('FATAL', 'two');
    expect(lines('log')).toEqual(['[99] LOG one', '[99] FATAL two']);
  });

  it.each([
    [0, ['FATAL', 'ERROR', 'WARNING', 'LOG']],
    [1, ['FATAL', 'ERROR', 'WARNING', 'LOG', 'DEBUG']],
    [2, ['FATAL', 'ERROR', 'WARNING', 'LOG', 'DEBUG', 'NOISE']],
    [7, ['FATAL', 'ERROR', 'WARNING', 'LOG', 'DEBUG', 'NOISE']],
  ])('at verbosity %i shows exactly its levels', (verbose, shown) => {
    const log = openLog({ verbose });
    const all = ['FATAL', 'ERROR', 'WARNING', 'LOG', 'DEBUG', 'NOISE'] as const;
    for (const level of all) log.log(level, 'x');
    expect(lines('stderr')).toEqual(shown.map((level) => `[99] ${level} x`));
    expect(all.filter((level) => log.enabled(level))).toEqual(shown);
  });

  it('takes texts literally, percent signs and braces included', () => {
    openLog({}).log('LOG', '100%s %d {} %o');
    expect(lines('stderr')).toEqual(['[99] LOG 100%s %d {} %o']);
  });

  it('as JSON writes one object per line', () => {
    openLog({ format: 'json' }).log('WARNING', 'two\nlines "quoted"');
    const [line, ...rest] = readFileSync(join(dir, 'stderr'), 'utf8').split('\n');
    expect(JSON.parse(line ?? '')).toEqual({
      level: 'WARNING',
      time: '2026-01-02T03:04:05.000Z',
      pid: 99,
      msg: 'two\nlines "quoted"',
    });
    expect(rest).toEqual(['']);
  });

  it('opens the logfile anew after a rotation', () => {
    const logfile = join(dir, 'log');
    const log = openLog({ logfile });
    log.log('LOG', 'before');
    renameSync(logfile, `${logfile}.1`);
    log.log('LOG', 'moved away');
    log.reopen();
    log.log('LOG', 'after');
    expect(lines('log.1')).toEqual(['[99] LOG before', '[99] LOG moved away']);
    expect(lines('log')).toEqual(['[99] LOG after']);
  });

  it('takes over new settings while it is open', () => {
    const log = openLog({ logfile: join(dir, 'a') });
    log.configure({ logfile: join(dir, 'b'), quiet: true, verbose: 1, format: 'json' });
    log.log('DEBUG', 'x');
    expect(lines('a')).toEqual([]);
    expect(JSON.parse(readFileSync(join(dir, 'b'), 'utf8'))).toMatchObject({ level: 'DEBUG', msg: 'x' });
    expect(lines('stderr')).toEqual([]);
    log.configure(plain);
    log.log('LOG', 'y');
    expect(readFileSync(join(dir, 'b'), 'utf8')).not.toContain('"y"');
    expect(lines('stderr')).toEqual(['[99] LOG y']);
  });

  it('cannot be made with a logfile that cannot be opened', () => {
    const logfile = join(dir, 'none', 'log');
    expect(() => openLog({ logfile })).toThrow(/^could not open logfile: .*ENOENT/);
    expect(existsSync(logfile)).toBe(false);
  });

  it('warns and keeps the old logfile when a new one cannot be opened', () => {
    const log = openLog({ logfile: join(dir, 'log') });
    log.configure({ ...plain, logfile: join(dir, 'none', 'log') });
    log.log('LOG', 'still here');
    const [warning, next] = lines('log');
    expect(warning).toContain('WARNING could not open logfile');
    expect(warning).toContain('still writing to the old one');
    expect(next).toBe('[99] LOG still here');
  });

  it('says how many lines a full disk has not taken, once it takes them again', () => {
    const log = openLog({ logfile: '/dev/full' });
    log.log('LOG', 'one');
    log.log('LOG', 'two');
    log.configure({ ...plain, logfile: join(dir, 'log') });
    log.log('LOG', 'three');
    log.log('LOG', 'four');
    const missing = '[99] WARNING 2 lines are missing here, which could not be written';
    expect(lines('log')).toEqual(['[99] LOG three', missing, '[99] LOG four']);
    expect(lines('stderr')).toHaveLength(5);
  });
});
