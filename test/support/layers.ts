import { posix } from 'node:path';
import { scanModule } from './imports.ts';

/** What a folder of `src/` may import from others; `types` of itself only as types. */
interface Layer {
  readonly imports: readonly string[];
  readonly types?: readonly string[];
}

/** The arrows between the folders of `src/`. A folder may always import from itself. */
export const LAYERS: Readonly<Record<string, Layer>> = {
  base: { imports: [] },
  wire: { imports: ['base'] },
  config: { imports: ['wire'], types: ['base'] },
  net: { imports: ['base'] },
  tls: { imports: ['base'], types: ['config', 'net'] },
  auth: { imports: ['wire', 'base'], types: ['config'] },
  pool: { imports: ['base', 'wire'] },
  prepared: { imports: ['base', 'wire'] },
  relay: { imports: ['wire', 'net', 'base'], types: ['prepared'] },
  client: { imports: ['pool', 'auth', 'prepared', 'relay', 'net', 'tls', 'wire', 'base'] },
  server: { imports: ['pool', 'auth', 'prepared', 'relay', 'net', 'tls', 'wire', 'base'] },
  admin: { imports: ['pool', 'prepared', 'config', 'wire', 'base'] },
  daemon: {
    imports: [
      'base',
      'wire',
      'config',
      'net',
      'tls',
      'auth',
      'pool',
      'prepared',
      'relay',
      'client',
      'server',
      'admin',
    ],
  },
  check: { imports: ['config', 'server', 'auth', 'net', 'tls', 'wire', 'base'] },
  cli: { imports: ['daemon', 'check', 'config', 'base'] },
};

/** Files that grow past this are two things. */
export const MAX_LINES = 400;

/** Something to be changed, at a place. */
export interface Complaint {
  readonly path: string;
  readonly line: number;
  readonly text: string;
}

/**
 * Complaints about one source file. `path` is relative to the project, with slashes (`src/pool/pool.ts`);
 * `dependencies` are the packages that the published program brings along.
 */
export function checkSource(path: string, source: string, dependencies: ReadonlySet<string>): Complaint[] {
  const complaints: Complaint[] = [];
  const complain = (line: number, text: string): void => {
    complaints.push({ path, line, text });
  };
  const folder = folderOf(path);
  const layer = folder === null ? undefined : LAYERS[folder];
  if (layer === undefined)
    complain(1, `${folder ?? path} is no folder of src/ that the table of layers knows`);
  const lines = source.split('\n').length - (source.endsWith('\n') ? 1 : 0);
  if (lines > MAX_LINES) complain(MAX_LINES + 1, `${lines} lines; ${MAX_LINES} are enough for one file`);
  const { imports, defaultExports } = scanModule(source);
  for (const line of defaultExports) complain(line, 'default export; exports have names');
  for (const { line, specifier, typeOnly } of imports) {
    if (specifier.startsWith('node:')) continue;
    if (!specifier.startsWith('.')) {
      const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
      if (!typeOnly && !dependencies.has(name)) complain(line, `${name} is not among the dependencies`);
      continue;
    }
    const target = folderOf(posix.join(posix.dirname(path), specifier));
    if (target === null) {
      complain(line, `${specifier} is outside of src/`);
    } else if (target !== folder && layer !== undefined) {
      if (layer.imports.includes(target)) continue;
      const asTypes = layer.types?.includes(target) === true;
      if (!asTypes) complain(line, `${folder}/ must not import ${target}/`);
      else if (!typeOnly) complain(line, `${folder}/ may import only types from ${target}/`);
    }
  }
  return complaints;
}

function folderOf(path: string): string | null {
  const [top, folder, file] = path.split('/');
  return top === 'src' && file !== undefined ? (folder ?? null) : null;
}
