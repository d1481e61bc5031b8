/**
 * Checks every file of `src/` against the table of layers; prints `file:line: complaint`, exit code 1 if there
 * is any. Argument: the project's folder, this one by default.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkSource } from './layers.ts';

const root = process.argv[2] ?? join(import.meta.dirname, '..', '..');
const manifest: { dependencies?: Record<string, string> } = JSON.parse(
  readFileSync(join(root, 'package.json'), 'utf8'),
);
const dependencies = new Set(Object.keys(manifest.dependencies ?? {}));
const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => `src/${file.replaceAll('\\', '/')}`)
  .sort();
const complaints = files.flatMap((path) =>
  checkSource(path, readFileSync(join(root, path), 'utf8'), dependencies),
);
for (const { path, line, text } of complaints) console.error(`${path}:${line}: ${text}`);
console.log(`${files.length} source files checked, ${complaints.length} complaints`);
process.exitCode = complaints.length === 0 ? 0 : 1;
