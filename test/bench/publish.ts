/**
 * `npm run bench:publish -- RESULT.json`: takes a result of `npm run bench` into docs/bench, draws its chart, and
 * writes what README.md says of speed. Without a file: writes the rest anew from docs/bench/speed.json.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { renderChart } from './chart.ts';
import { renderPage, renderReadmePart, withReadmePart } from './published.ts';
import type { BenchResult } from './report.ts';

const root = path.resolve(import.meta.dirname, '../..');
const folder = path.join(root, 'docs/bench');
const kept = path.join(folder, 'speed.json');

const text = readFileSync(process.argv[2] ?? kept, 'utf8');
const result = JSON.parse(text) as BenchResult;
if (result.format !== 2 || result.options.quick) {
  console.error('a quick run is a look, and an old format is not known: publish the result of a whole run');
  process.exitCode = 1;
} else {
  const readme = path.join(root, 'README.md');
  mkdirSync(folder, { recursive: true });
  writeFileSync(kept, text);
  writeFileSync(path.join(folder, 'speed.svg'), renderChart(result));
  writeFileSync(path.join(folder, 'README.md'), renderPage(result));
  writeFileSync(readme, withReadmePart(readFileSync(readme, 'utf8'), renderReadmePart(result)));
}
