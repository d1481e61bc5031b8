import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Target } from './target.ts';

const FOLDER = join(import.meta.dirname, 'corpus');

/** Inputs that once reached something new, and those that once broke something: the latter begin with `fixed-`. */
export function kept({ name }: Target): Buffer[] {
  const folder = join(FOLDER, name);
  let files: string[];
  try {
    files = readdirSync(folder).sort();
  } catch {
    files = [];
  }
  return files.map((file) => readFileSync(join(folder, file)));
}

/** Puts an input there, under a name made of what it is; gives its path. */
export function keep({ name }: Target, bytes: Buffer, folder = FOLDER): string {
  const path = join(folder, name, createHash('sha256').update(bytes).digest('hex').slice(0, 12));
  mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(path, bytes);
  return path;
}

/** All that inputs of a target are made from. */
export function corpusOf(target: Target): Buffer[] {
  return [...target.seeds.map((seed) => Buffer.from(seed as string, 'latin1')), ...kept(target)];
}
