import { existsSync, readFileSync, renameSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { LogSettings } from '../../src/daemon/log.ts';
import { failingCall } from '../support/failing-call.ts';
import { LogStage } from './log-stage.ts';

const plain: LogSettings = { logfile: '', quiet: false, verbose: 0, format: 'pgbouncer' };
const stage = new LogStage(plain);

describe('the log', () => {
  it('writes every line to the logfile and to stderr at once', () => {
    stage.open({ logfile: stage.path('log') }).log('LOG', 'process up');
    expect(stage.lines('log')).toEqual(['[99] LOG process up']);
    expect(stage.lines('stderr')).toEqual(['[99] LOG process up']);
  });

  it('spares stderr when quiet', () => {
    stage.open({ logfile: stage.path('log'), quiet: true }).log('LOG', 'process up');
    expect(stage.lines('log')).toEqual(['[99] LOG process up']);
    expect(stage.lines('stderr')).toEqual([]);
  });

  it('appends to a logfile that is there already', () => {
    stage.open({ logfile: stage.path('log') }).log('LOG', 'one');
    stage.log.close();
    stage.open({ logfile: stage.path('log') }).log('FATAL', 'two');
    expect(stage.lines('log')).toEqual(['[99] LOG one', '[99] FATAL two']);
  });

  it.each([
    [0, ['FATAL', 'ERROR', 'WARNING', 'LOG']],
    [1, ['FATAL', 'ERROR', 'WARNING', 'LOG', 'DEBUG']],
    [2, ['FATAL', 'ERROR', 'WARNING', 'LOG', 'DEBUG', 'NOISE']],
    [7, ['FATAL', 'ERROR', 'WARNING', 'LOG', 'DEBUG', 'NOISE']],
  ])('at verbosity %i shows exactly its levels', (verbose, shown) => {
    const log = stage.open({ verbose });
    const all = ['FATAL', 'ERROR', 'WARNING', 'LOG', 'DEBUG', 'NOISE'] as const;
    for (const level of all) log.log(level, 'x');
    expect(stage.lines('stderr')).toEqual(shown.map((level) => `[99] ${level} x`));
    expect(all.filter((level) => log.enabled(level))).toEqual(shown);
  });

  it('takes texts literally, percent signs and braces included', () => {
    stage.open({}).log('LOG', '100%s %d {} %o');
    expect(stage.lines('stderr')).toEqual(['[99] LOG 100%s %d {} %o']);
  });

  it('as JSON writes one object per line', () => {
    stage.open({ format: 'json' }).log('WARNING', 'two\nlines "quoted"');
    const [line, ...rest] = readFileSync(stage.path('stderr'), 'utf8').split('\n');
    expect(JSON.parse(line ?? '')).toEqual({
      level: 'WARNING',
      time: '2026-01-02T03:04:05.000Z',
      pid: 99,
      msg: 'two\nlines "quoted"',
    });
    expect(rest).toEqual(['']);
  });

  it('opens the logfile anew after a rotation', () => {
    const logfile = stage.path('log');
    const log = stage.open({ logfile });
    log.log('LOG', 'before');
    renameSync(logfile, `${logfile}.1`);
    log.log('LOG', 'moved away');
    log.reopen();
    log.log('LOG', 'after');
    expect(stage.lines('log.1')).toEqual(['[99] LOG before', '[99] LOG moved away']);
    expect(stage.lines('log')).toEqual(['[99] LOG after']);
  });

  it('takes over new settings while it is open', () => {
    const log = stage.open({ logfile: stage.path('a') });
    log.configure({ logfile: stage.path('b'), quiet: true, verbose: 1, format: 'json' });
    log.log('DEBUG', 'x');
    expect(stage.lines('a')).toEqual([]);
    expect(JSON.parse(readFileSync(stage.path('b'), 'utf8'))).toMatchObject({ level: 'DEBUG', msg: 'x' });
    expect(stage.lines('stderr')).toEqual([]);
    log.configure(plain);
    log.log('LOG', 'y');
    expect(readFileSync(stage.path('b'), 'utf8')).not.toContain('"y"');
    expect(stage.lines('stderr')).toEqual(['[99] LOG y']);
  });

  it('leaves an old logfile behind that cannot be closed: its number may be a client’s by then', () => {
    const log = stage.open({ logfile: stage.path('a') });
    {
      // As for a disk of the network: the descriptor is gone all the same.
      using _ = failingCall('closeSync', 'EIO');
      log.configure({ ...plain, logfile: stage.path('b') });
      log.log('LOG', 'next');
      log.configure(plain);
      log.log('LOG', 'last');
    }
    const missing = (name: string): string =>
      `[99] WARNING lines may be missing in ${stage.path(name)}: EIO: closeSync`;
    expect(stage.lines('a')).toEqual([]);
    expect(stage.lines('b')).toEqual([missing('a'), '[99] LOG next']);
    expect(stage.lines('stderr')).toEqual([missing('a'), '[99] LOG next', missing('b'), '[99] LOG last']);
  });

  it('cannot be made with a logfile that cannot be opened', () => {
    const logfile = stage.path('none/log');
    expect(() => stage.open({ logfile })).toThrow(/^could not open logfile: .*ENOENT/);
    expect(existsSync(logfile)).toBe(false);
  });

  it('warns and keeps the old logfile when a new one cannot be opened', () => {
    const log = stage.open({ logfile: stage.path('log') });
    log.configure({ ...plain, logfile: stage.path('none/log') });
    log.log('LOG', 'still here');
    const [warning, next] = stage.lines('log');
    expect(warning).toContain('WARNING could not open logfile');
    expect(warning).toContain('still writing to the old one');
    expect(next).toBe('[99] LOG still here');
  });

  it('says how many lines a full disk has not taken, once it takes them again', () => {
    const log = stage.open({ logfile: '/dev/full' });
    log.log('LOG', 'one');
    log.log('LOG', 'two');
    log.configure({ ...plain, logfile: stage.path('log') });
    log.log('LOG', 'three');
    log.log('LOG', 'four');
    const missing = '[99] WARNING 2 lines are missing here, which could not be written';
    expect(stage.lines('log')).toEqual(['[99] LOG three', missing, '[99] LOG four']);
    expect(stage.lines('stderr')).toHaveLength(5);
  });
});
