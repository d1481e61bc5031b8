import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** The project's folder. */
export const projectRoot = resolve(import.meta.dirname, '../..');

/** What is in it beside the project itself; see `.gitignore`. */
const NOT_COPIED = new Set(
  ['node_modules', 'dist', 'coverage', 'bench-results', '.git', '.pgweir', 'docker/secrets'].map((name) =>
    join(projectRoot, name),
  ),
);

/** The project as it was checked out, in a temporary folder, to build there; its packages are ours. */
export class ProjectCopy implements Disposable {
  readonly root = mkdtempSync(join(tmpdir(), 'pgweir-copy-'));

  constructor() {
    cpSync(projectRoot, this.root, { recursive: true, filter: (path) => !NOT_COPIED.has(path) });
    symlinkSync(join(projectRoot, 'node_modules'), join(this.root, 'node_modules'));
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
