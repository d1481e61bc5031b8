import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkPidfile, PidfileError, preparePidfile, writePidfile } from '../../src/daemon/pidfile.ts';
import { failingCall } from '../support/failing-call.ts';

let dir: string;
let path: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pgweir-pid-'));
  path = join(dir, 'pid');
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** The pid of a process that has just ended. */
function deadPid(): number {
  return spawnSync(process.execPath, ['-e', '']).pid;
}

describe('the pidfile', () => {
  it('holds our pid and a newline, readable for all, and goes at exit', () => {
    const umask = process.umask(0o022);
    const pidfile = writePidfile(path);
    process.umask(umask);
    expect(readFileSync(path, 'utf8')).toBe(`${process.pid}\n`);
    expect(statSync(path).mode & 0o777).toBe(0o644);
    pidfile.remove();
    expect(existsSync(path)).toBe(false);
    pidfile.remove();
  });

  it('is not read to its end, which a device may not have', () => {
    writeFileSync(path, '');
    truncateSync(path, 3 * 2 ** 30);
    expect(() => checkPidfile(path)).toThrow(`pidfile '${path}' exists, another instance running?`);
  });

  it('may be missing', () => {
    checkPidfile(path);
    expect(existsSync(path)).toBe(false);
  });

  it.each([
    '',
    'abc\n',
    '0\n',
    '-1\n',
    '12 34\n',
    '99999999999\n',
  ])('with %j in it forbids a start', (text) => {
    writeFileSync(path, text);
    expect(() => checkPidfile(path)).toThrow(`pidfile '${path}' exists, another instance running?`);
    expect(readFileSync(path, 'utf8')).toBe(text);
  });

  it('of a running process forbids a start', () => {
    writeFileSync(path, `${process.ppid}\n`);
    expect(() => checkPidfile(path)).toThrow(`pidfile '${path}' exists, another instance running?`);
  });

  it('of a dead process is removed', () => {
    writeFileSync(path, `${deadPid()}\n`);
    checkPidfile(path);
    expect(existsSync(path)).toBe(false);
  });

  it('with our own pid is a predecessor in a container and is removed', () => {
    writeFileSync(path, `${process.pid}\n`);
    checkPidfile(path);
    expect(existsSync(path)).toBe(false);
  });

  it('that appears between check and write forbids the start', () => {
    writeFileSync(path, '');
    expect(() => writePidfile(path)).toThrow(`pidfile '${path}' exists, another instance running?`);
  });

  it('is never written through a symbolic link', () => {
    const target = join(dir, 'target');
    symlinkSync(target, path);
    expect(() => writePidfile(path)).toThrow('exists, another instance running?');
    expect(existsSync(target)).toBe(false);
  });

  it('in a folder that does not exist says so', () => {
    expect(() => writePidfile(join(dir, 'none', 'pid'))).toThrow(/^could not open pidfile: .*ENOENT/);
  });

  it('that cannot be written says so, and no half of it stays', () => {
    for (const call of ['closeSync', 'unlinkSync'] as const) {
      using _ = failingCall('closeSync', 'ENOSPC');
      using _alike = call === 'unlinkSync' ? failingCall(call, 'EIO') : null;
      expect(() => writePidfile(path)).toThrow(
        new PidfileError('could not write pidfile: ENOSPC: closeSync'),
      );
      expect(existsSync(path)).toBe(call === 'unlinkSync');
    }
  });

  it('that cannot be read says so', () => {
    expect(() => checkPidfile(dir)).toThrow(/^could not read pidfile: .*EISDIR/);
  });

  it('stays at exit when another process has taken the path', () => {
    const pidfile = writePidfile(path);
    rmSync(path);
    writeFileSync(path, '1\n');
    pidfile.remove();
    expect(readFileSync(path, 'utf8')).toBe('1\n');
  });

  it('takes the place of another one in one step, whose owner then leaves it alone', () => {
    const other = writePidfile(path);
    const inode = statSync(path).ino;
    const successor = preparePidfile(path);
    expect(statSync(path).ino).toBe(inode);
    const pidfile = successor.put();
    expect(statSync(path).ino).not.toBe(inode);
    expect(readdirSync(dir)).toEqual(['pid']);
    other.remove();
    successor.discard();
    expect(readFileSync(path, 'utf8')).toBe(`${process.pid}\n`);
    pidfile.remove();
    expect(readdirSync(dir)).toEqual([]);
  });

  it('that was to take another’s place and does not leaves no trace', () => {
    writePidfile(path);
    const inode = statSync(path).ino;
    preparePidfile(path).discard();
    expect(readdirSync(dir)).toEqual(['pid']);
    expect(statSync(path).ino).toBe(inode);
    expect(() => preparePidfile(join(dir, 'gone', 'pid'))).toThrow('could not open pidfile: ');
  });
});
