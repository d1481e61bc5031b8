import type { SourcePosition } from '../config/config-error.ts';

/** `error`: it will not work, or lets in who should not. `warning`: it can fail, or does not do what it says. */
export type Level = 'error' | 'warning' | 'note';

/** What a finding can be about: stable names for programs. `docs/check.md` says what each stands for. */
export const FINDING_CODES = [
  'capacity',
  'certificate',
  'certificate-name',
  'cleartext',
  'configuration',
  'connect',
  'contradiction',
  'md5',
  'missing-file',
  'never-matches',
  'no-effect',
  'nobody',
  'prepared-statements',
  'reset-query',
  'secret-kind',
  'secrets',
  'tls',
  'trust',
  'unbounded',
  'unknown-database',
  'unknown-user',
  'weak',
  'writable',
] as const;
export type FindingCode = (typeof FINDING_CODES)[number];

/** Something that the operator should know. No text holds a secret. */
export interface Finding {
  readonly level: Level;
  readonly code: FindingCode;
  /** The setting, `[section] entry`, or file that it is about. */
  readonly subject: string;
  readonly message: string;
  readonly at: SourcePosition | null;
}

/** Where things stand in the files, by setting or `[section] entry`. */
export type Positions = ReadonlyMap<string, SourcePosition>;

/** Gathers findings; each knows its place by what it is about. */
export class Findings {
  readonly all: Finding[] = [];
  readonly #positions: Positions;

  constructor(positions: Positions) {
    this.#positions = positions;
  }

  add(level: Level, code: FindingCode, subject: string, message: string, at?: SourcePosition): void {
    this.all.push({ level, code, subject, message, at: at ?? this.#positions.get(subject) ?? null });
  }
}

/** 0 sound, 1 warnings, 2 errors. */
export function exitStatus(findings: readonly Finding[]): 0 | 1 | 2 {
  if (findings.some(({ level }) => level === 'error')) return 2;
  return findings.some(({ level }) => level === 'warning') ? 1 : 0;
}
