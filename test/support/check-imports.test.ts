import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { scanModule } from './imports.ts';
import { checkSource } from './layers.ts';

const texts = (path: string, source: string): string[] =>
  checkSource(path, source, new Set(['pino', '@scope/kept'])).map(({ line, text }) => `${line}: ${text}`);

test.each([
  ["import { a } from './a.ts';", './a.ts', false],
  ["import type { A } from './a.ts';", './a.ts', true],
  ["import { type A } from './a.ts';", './a.ts', false],
  ["import type from './a.ts';", './a.ts', false],
  ["import './a.ts';", './a.ts', false],
  ["import a, * as b from './a.ts';", './a.ts', false],
  ['import {\n  a,\n  b as c,\n} from "./a.ts";', './a.ts', false],
  ["export * from './a.ts';", './a.ts', false],
  ["export { a } from './a.ts';", './a.ts', false],
  ["export type { A } from './a.ts';", './a.ts', true],
  ["const a = await import('./a.ts');", './a.ts', false],
  ["const quote = /['\"`/*]/; import('./a.ts');", './a.ts', false],
  ["const half = 1 / 2; import('./a.ts'); 3 / 4;", './a.ts', false],
])('%j is an import', (source, specifier, typeOnly) => {
  expect(scanModule(source).imports).toEqual([{ line: 1, specifier, typeOnly }]);
});

test.each([
  "// import { a } from './a.ts';",
  "/* import './a.ts'; */",
  'const a = \'import "./a.ts"\';',
  "const a = `\nimport './a.ts';\n`;",
  "x.import('./a.ts');",
  "export const from = 'elsewhere';",
  "export type A = Array<string>; const from = 'elsewhere';",
  'const here = import.meta.url;',
])('%j imports nothing', (source) => {
  expect(scanModule(source).imports).toEqual([]);
});

test('lines are counted across comments and templates', () => {
  const source = "/*\n*/\nconst t = `\n\n`;\nimport './a.ts';\nexport default t;\n";
  expect(scanModule(source)).toEqual({
    imports: [{ line: 6, specifier: './a.ts', typeOnly: false }],
    defaultExports: [7],
  });
});

test('an import against the arrows is named with its line', () => {
  expect(texts('src/pool/pool.ts', "\nimport { x } from '../client/x.ts';\n")).toEqual([
    '2: pool/ must not import client/',
  ]);
  expect(texts('src/client/x.ts', "import type { X } from '../server/x.ts';\n")).toEqual([
    '1: client/ must not import server/',
  ]);
  expect(texts('src/base/x.ts', "export * from '../wire/x.ts';\n")).toEqual([
    '1: base/ must not import wire/',
  ]);
});

test('imports along the arrows and within a folder pass', () => {
  const source =
    "import { a } from '../pool/a.ts';\nimport { b } from './deep/b.ts';\nimport { c } from '../wire/c.ts';";
  expect(texts('src/client/x.ts', source)).toEqual([]);
  expect(texts('src/cli/start/x.ts', "import { a } from '../../daemon/a.ts'; import '../b.ts';")).toEqual([]);
});

test('a folder whose types alone may be used is told from one that may be run', () => {
  expect(texts('src/auth/x.ts', "import type { A } from '../config/a.ts';")).toEqual([]);
  expect(texts('src/auth/x.ts', "import { a } from '../config/a.ts';")).toEqual([
    '1: auth/ may import only types from config/',
  ]);
});

test('packages that are not installed with the program are refused, except for types', () => {
  expect(texts('src/base/x.ts', "import pino from 'pino'; import '@scope/kept/deep';")).toEqual([]);
  expect(
    texts('src/base/x.ts', "import type { A } from 'pg';\nimport pg from 'pg';\nimport '@scope/x';"),
  ).toEqual(['2: pg is not among the dependencies', '3: @scope/x is not among the dependencies']);
});

test('nothing outside src/ is imported', () => {
  expect(texts('src/base/x.ts', "import '../../test/support/cut.ts';")).toEqual([
    '1: ../../test/support/cut.ts is outside of src/',
  ]);
});

test('unknown folders, default exports and files past 400 lines are refused', () => {
  expect(texts('src/utils/x.ts', '')).toEqual([
    '1: utils is no folder of src/ that the table of layers knows',
  ]);
  expect(texts('src/base/x.ts', 'export default 1;')).toEqual(['1: default export; exports have names']);
  expect(texts('src/base/x.ts', 'const a = 1;\nexport { a as default };')).toEqual([
    '2: default export; exports have names',
  ]);
  expect(texts('src/base/x.ts', '\n'.repeat(400))).toEqual([]);
  expect(texts('src/base/x.ts', '\n'.repeat(401))).toEqual(['401: 401 lines; 400 are enough for one file']);
});

test('the command ends with 1 and names file and line when something is wrong, with 0 otherwise', () => {
  const root = mkdtempSync(join(tmpdir(), 'pgweir-imports-'));
  try {
    const write = (path: string, text: string): void => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    };
    const check = () =>
      spawnSync(process.execPath, [join(import.meta.dirname, 'check-imports.ts'), root], {
        encoding: 'utf8',
      });
    write('package.json', '{}');
    write('src/base/a.ts', 'export const a = 1;\n');
    expect(check()).toMatchObject({ status: 0, stderr: '' });
    write('src/base/deep/b.ts', "\nimport '../../pool/p.ts';\n");
    expect(check()).toMatchObject({
      status: 1,
      stderr: 'src/base/deep/b.ts:2: base/ must not import pool/\n',
    });
  } finally {
    rmSync(root, { recursive: true });
  }
});
