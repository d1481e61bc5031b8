import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { reachableBinaries } from '../../../src/cli/start/postgres-binaries.ts';
import { canReach } from '../../../src/cli/start/run-user.ts';

/** Nobody that this test runs as. */
const stranger = { uid: 61_234, gid: 61_234 };

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pgweir-reach-'));
  chmodSync(folder, 0o755);
  mkdirSync(join(folder, 'pg/bin'), { recursive: true });
  for (const program of ['postgres', 'initdb']) {
    writeFileSync(join(folder, 'pg/bin', program), '');
    chmodSync(join(folder, 'pg/bin', program), 0o755);
  }
});

afterEach(() => rmSync(folder, { recursive: true }));

test('a program is out of reach when it or a folder above it keeps others out', () => {
  const program = join(folder, 'pg/bin/postgres');
  expect(canReach(program, stranger)).toBe(true);
  chmodSync(program, 0o744);
  expect(canReach(program, stranger)).toBe(false);
  chmodSync(program, 0o755);
  chmodSync(folder, 0o700);
  expect(canReach(program, stranger)).toBe(false);
});

test('the bits that count are those of the owner, then of the group, then of the others', () => {
  const program = join(folder, 'pg/bin/postgres');
  const { uid, gid } = statSync(program);
  chmodSync(program, 0o750);
  expect(canReach(program, { uid, gid: 61_234 })).toBe(true);
  expect(canReach(program, { uid: 61_234, gid })).toBe(true);
  expect(canReach(program, stranger)).toBe(false);
});

test('binaries within reach are used where they are, others are copied and opened up', () => {
  const binDir = join(folder, 'pg/bin');
  const target = join(folder, 'copy');
  chmodSync(join(binDir, 'postgres'), 0o700);
  expect(reachableBinaries(binDir, null, target)).toBe(binDir);
  expect(existsSync(target)).toBe(false);
  expect(reachableBinaries(binDir, stranger, target)).toBe(join(target, 'bin'));
  expect(canReach(join(target, 'bin/postgres'), stranger)).toBe(true);
  chmodSync(join(binDir, 'postgres'), 0o755);
  expect(reachableBinaries(binDir, stranger, join(folder, 'other'))).toBe(binDir);
});
