import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LineSink } from '../../src/daemon/line-sink.ts';

let dir: string;
let fds: number[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pgweir-sink-'));
  fds = [];
});

afterEach(() => {
  for (const fd of fds) closeSync(fd);
  rmSync(dir, { recursive: true, force: true });
});

function open(path: string, flags: string | number): number {
  const fd = openSync(path, flags);
  fds.push(fd);
  return fd;
}

describe('a line sink', () => {
  it('writes each line at once', () => {
    const path = join(dir, 'log');
    const sink = new LineSink(open(path, 'a'));
    expect(sink.write('one\n')).toBe(true);
    expect(readFileSync(path, 'utf8')).toBe('one\n');
    expect(sink.write('zwölf\n')).toBe(true);
    expect(readFileSync(path, 'utf8')).toBe('one\nzwölf\n');
  });

  it('tells which lines a full disk does not take', () => {
    const sink = new LineSink(open('/dev/full', 'w'));
    expect(sink.write('one\n')).toBe(false);
    expect(sink.write('two\n')).toBe(false);
  });

  it('loses the lines for a descriptor that is closed', () => {
    expect(new LineSink(987_654).write('one\n')).toBe(false);
  });

  it('drops lines for a reader that does not read, and starts on a fresh line when it does again', () => {
    const path = join(dir, 'pipe');
    execFileSync('mkfifo', [path]);
    const pipe = open(path, constants.O_RDWR | constants.O_NONBLOCK);
    const sink = new LineSink(pipe);
    // No divisor of a pipe's capacity, so that the last line is cut.
    const line = `${'x'.repeat(9_998)}\n`;
    let taken = 0;
    while (taken < 1000 && sink.write(line)) taken++;
    expect(taken).toBeLessThan(1000);
    expect(sink.write('lost\n')).toBe(false);

    const stuck = drain(pipe);
    expect(stuck.endsWith('\n')).toBe(false);
    expect(sink.write('back\n')).toBe(true);
    expect(sink.write('again\n')).toBe(true);
    expect(drain(pipe)).toBe('\nback\nagain\n');
  });
});

function drain(fd: number): string {
  const chunk = Buffer.alloc(1 << 20);
  let text = '';
  for (;;) {
    try {
      text += chunk.toString('latin1', 0, readSync(fd, chunk));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return text;
      throw error;
    }
  }
}
