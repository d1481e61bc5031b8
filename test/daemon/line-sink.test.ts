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
    sink.write('one\n');
    expect(readFileSync(path, 'utf8')).toBe('one\n');
    sink.write('zwölf\n');
    expect(readFileSync(path, 'utf8')).toBe('one\nzwölf\n');
    expect(sink.dropped).toBe(0);
  });

  it('counts the lines that a full disk does not take', () => {
    const sink = new LineSink(open('/dev/full', 'w'));
    sink.write('one\n');
    sink.write('two\n');
    expect(sink.dropped).toBe(2);
  });

  it('counts the lines for a descriptor that is closed', () => {
    const sink = new LineSink(987_654);
    sink.write('one\n');
    expect(sink.dropped).toBe(1);
  });

  it('drops lines for a reader that does not read, and starts on a fresh line when it does again', () => {
    const path = join(dir, 'pipe');
    execFileSync('mkfifo', [path]);
    const pipe = open(path, constants.O_RDWR | constants.O_NONBLOCK);
    const sink = new LineSink(pipe);
    // No divisor of a pipe's capacity, so that the last line is cut.
    const line = `${'x'.repeat(9_998)}\n`;
    for (let i = 0; i < 1000 && sink.dropped === 0; i++) sink.write(line);
    expect(sink.dropped).toBe(1);
    sink.write('lost\n');
    expect(sink.dropped).toBe(2);

    const stuck = drain(pipe);
    expect(stuck.endsWith('\n')).toBe(false);
    sink.write('back\n');
    sink.write('again\n');
    expect(drain(pipe)).toBe('\nback\nagain\n');
    expect(sink.dropped).toBe(2);
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
