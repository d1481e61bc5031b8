import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { mkdirSync } from 'node:fs';
import { type CheckOptions, checkSetUp } from '../../src/check/check.ts';
import type { Report } from '../../src/check/report.ts';

/** Files in a folder of their own, gone when disposed of. `{dir}` in a text is the folder. */
export class SetUp implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), 'pgweir-check-'));
  readonly path = join(this.dir, 'pgbouncer.ini');

  constructor(ini: string, files: Readonly<Record<string, string>> = {}) {
    for (const [name, text] of Object.entries({ 'pgbouncer.ini': ini, ...files })) {
      mkdirSync(dirname(join(this.dir, name)), { recursive: true });
      writeFileSync(join(this.dir, name), text.replaceAll('{dir}', this.dir), { mode: 0o640 });
    }
  }

  check(options: Partial<CheckOptions> = {}): Promise<Report> {
    return checkSetUp(this.path, { instances: 1, ask: null, ...options });
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** `error trust auth_type` for each finding but notes, in order. */
export function shown({ findings }: Report): string[] {
  return findings
    .filter(({ level }) => level !== 'note')
    .map(({ level, code, subject }) => `${level} ${code} ${subject}`);
}
