import type { SourcePosition } from '../config/config-error.ts';

/** `error`: it will not work, or lets in who should not. `warning`: it can fail, or does not do what it says. */
export type Level = 'error' | 'warning' | 'note';

/** Something that the operator should know. No text holds a secret. */
export interface Finding {
  readonly level: Level;
  /** Stable name for programs, such as `capacity`. */
  readonly code: string;
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

  add(level: Level, code: string, subject: string, message: string, at?: SourcePosition): void {
    this.all.push({ level, code, subject, message, at: at ?? this.#positions.get(subject) ?? null });
  }
}

/** 0 sound, 1 warnings, 2 errors. */
export function exitStatus(findings: readonly Finding[]): 0 | 1 | 2 {
  if (findings.some(({ level }) => level === 'error')) return 2;
  return findings.some(({ level }) => level === 'warning') ? 1 : 0;
}
