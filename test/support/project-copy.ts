import { cpSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** The project's folder. */
export const projectRoot = resolve(import.meta.dirname, '../..');

/** What is in it beside the project itself; see `.gitignore`. */
const NOT_COPIED = new Set(['node_modules', 'dist', 'coverage', 'bench-results', '.git', '.pgweir']);

/** The project as it was checked out, in a temporary folder, to build there; its packages are ours. */
export class ProjectCopy implements Disposable {
  readonly root = mkdtempSync(join(tmpdir(), 'pgweir-copy-'));

  constructor() {
    for (const name of readdirSync(projectRoot)) {
      if (!NOT_COPIED.has(name)) cpSync(join(projectRoot, name), join(this.root, name), { recursive: true });
    }
    symlinkSync(join(projectRoot, 'node_modules'), join(this.root, 'node_modules'));
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
