/** What the owner asks of a supervisor process. */
export type SupervisorRequest =
  | { readonly kind: 'run'; readonly program: Program }
  | { readonly kind: 'signal'; readonly signal: NodeJS.Signals };

/** What a supervisor process tells its owner. */
export type SupervisorReport =
  /** It is up and takes requests. */
  | { readonly kind: 'up' }
  | { readonly kind: 'started'; readonly pid: number }
  | ({ readonly kind: 'ended' } & ProgramEnd);

/** A program to be run, as plain data. */
export interface Program {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Run as this user; null for our own. */
  readonly user: { readonly uid: number; readonly gid: number } | null;
  /** A file that standard output and error are appended to; null leaves them where ours go. */
  readonly logPath: string | null;
}

/** How a program ended; `error` when it could not be started at all. */
export interface ProgramEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly error: string | null;
}
