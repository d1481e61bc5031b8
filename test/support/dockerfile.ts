import { cpSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { basename, isAbsolute, join, posix, relative } from 'node:path';

/** One instruction, with its line in the file. */
export interface Instruction {
  /** In capitals. */
  readonly name: string;
  /** What follows the name, lines joined. */
  readonly text: string;
  readonly line: number;
}

/** FROM and what follows it up to the next. */
export interface Stage {
  readonly image: string;
  /** What `AS` calls it; null without a name. */
  readonly name: string | null;
  readonly instructions: readonly Instruction[];
}

/** Reads a Dockerfile: comments, joined lines, stages. Throws at what is ahead of the first FROM. */
export function parseDockerfile(text: string): Stage[] {
  const stages: { image: string; name: string | null; instructions: Instruction[] }[] = [];
  const lines = text.split('\n');
  for (let at = 0; at < lines.length; at++) {
    const line = at + 1;
    if (/^\s*(#|$)/.test(lines[at] as string)) continue;
    let joined = lines[at] as string;
    while (joined.endsWith('\\')) joined = `${joined.slice(0, -1)} ${(lines[++at] ?? '').trim()}`;
    const [, word = '', rest = ''] = /^\s*([A-Za-z]+)\s+(.*)$/.exec(joined) ?? [];
    const name = word.toUpperCase();
    if (name === 'FROM') {
      const [, image = '', alias = null] = /^(\S+)(?:\s+AS\s+(\S+))?$/i.exec(rest.trim()) ?? [];
      stages.push({ image, name: alias, instructions: [] });
      continue;
    }
    const stage = stages.at(-1);
    if (stage === undefined || name === '') throw new Error(`line ${line}: ${joined}`);
    stage.instructions.push({ name, text: rest.trim().replaceAll(/\s+/g, ' '), line });
  }
  return stages;
}

/** The words of an instruction in exec form (`["node", "x"]`); null: it is in shell form. */
export function execForm(text: string): string[] | null {
  if (!text.startsWith('[')) return null;
  const words: unknown = JSON.parse(text);
  if (!Array.isArray(words) || !words.every((word) => typeof word === 'string')) throw new Error(text);
  return words;
}

/** Whether `.dockerignore` keeps a path of the context out; the last line that fits it or a folder above it decides. */
export function isIgnored(path: string, ignoreText: string): boolean {
  let ignored = false;
  for (const raw of ignoreText.split('\n')) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    const isException = line.startsWith('!');
    const pattern = isException ? line.slice(1) : line;
    for (let part = path; part !== '.'; part = posix.dirname(part)) {
      if (matches(part, pattern)) ignored = !isException;
    }
  }
  return ignored;
}

/** As Go's filepath.Match, as far as it is used here: `*` is any text without slashes, dots included. */
function matches(path: string, pattern: string): boolean {
  const source = pattern.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '[^/]*');
  return new RegExp(`^${source}$`).test(path);
}

/** What runs in a stage's image once it is made. */
export interface ImageConfig {
  readonly user: string;
  readonly env: Readonly<Record<string, string>>;
  readonly workdir: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly health: readonly string[];
}

/**
 * Carries out the stages of a Dockerfile in plain folders, each of which stands for the root of an image's own files:
 * COPY copies, RUN is handed to `run` with the folder that WORKDIR names there.
 */
export class StageRunner {
  readonly #context: string;
  readonly #ignoreText: string;
  readonly #folder: string;
  readonly #roots = new Map<string, string>();

  /** `folder` has to be there; it gets a folder for each stage. */
  constructor(context: string, folder: string) {
    this.#context = context;
    this.#ignoreText = readFileSync(join(context, '.dockerignore'), 'utf8');
    this.#folder = folder;
  }

  /** Gives the stage's root and what is to run there. */
  async make(
    stage: Stage,
    run: (command: string, cwd: string) => Promise<void>,
  ): Promise<{ readonly root: string; readonly config: ImageConfig }> {
    const root = join(this.#folder, stage.name ?? 'final');
    mkdirSync(root);
    if (stage.name !== null) this.#roots.set(stage.name, root);
    const env: Record<string, string> = {};
    const config = { user: '', workdir: '/', entrypoint: [''], cmd: [''], health: [''] };
    for (const { name, text, line } of stage.instructions) {
      switch (name) {
        case 'WORKDIR':
          config.workdir = posix.resolve(config.workdir, text);
          mkdirSync(join(root, config.workdir), { recursive: true });
          break;
        case 'COPY':
          this.#copy(text, join(root, config.workdir));
          break;
        case 'RUN':
          await run(text, join(root, config.workdir));
          break;
        case 'ENV': {
          const [, key = '', value = ''] = /^([A-Z_]+)=(\S*)$/.exec(text) ?? [];
          env[key] = value;
          break;
        }
        case 'USER':
          config.user = text;
          break;
        case 'ENTRYPOINT':
          config.entrypoint = execForm(text) ?? [];
          break;
        case 'CMD':
          config.cmd = execForm(text) ?? [];
          break;
        case 'HEALTHCHECK':
          config.health = execForm(text.replace(/^.*?CMD /, '')) ?? [];
          break;
        case 'EXPOSE':
        case 'STOPSIGNAL':
          break;
        default:
          throw new Error(`line ${line}: ${name} is not known here`);
      }
    }
    return { root, config: { ...config, env } };
  }

  #copy(text: string, workdir: string): void {
    const words = text.split(' ');
    const from = words[0]?.startsWith('--from=') ? words.shift()?.slice('--from='.length) : undefined;
    const target = words.pop() as string;
    if (isAbsolute(target)) throw new Error(`COPY ${text}: into the working directory only`);
    const source = from === undefined ? this.#context : this.#roots.get(from);
    if (source === undefined) throw new Error(`COPY ${text}: no such stage`);
    for (const word of words) {
      const path = join(source, word);
      // Docker copies what is in a folder, not the folder.
      const into =
        statSync(path).isDirectory() || !target.endsWith('/') ? target : join(target, basename(word));
      cpSync(path, join(workdir, into), {
        recursive: true,
        verbatimSymlinks: true,
        filter: (each) =>
          from !== undefined || each === source || !isIgnored(relative(source, each), this.#ignoreText),
      });
      if (!existsSync(join(workdir, into))) throw new Error(`COPY ${text}: .dockerignore keeps ${word} out`);
    }
  }
}
