import { statSync } from 'node:fs';
import type { Config } from '../config/config.ts';
import type { Findings } from './finding.ts';

/** A file's mode bits; null: there is none, or it cannot be looked at. */
export type ModeOf = (path: string) => number | null;

const modeOf: ModeOf = (path) => statSync(path, { throwIfNoEntry: false })?.mode ?? null;

const OTHERS_READ = 0o004;
const OTHERS_WRITE = 0o002;

/** Files with secrets that others on the machine can read, and files that decide who gets in and others can write. */
export function checkFiles(
  findings: Findings,
  config: Config,
  files: readonly string[],
  mode: ModeOf = modeOf,
): void {
  const { settings } = config;
  const secret = new Map<string, string>();
  const holdsPasswords = [...config.databases.values()].some(({ password }) => (password ?? '') !== '');
  for (const path of files) if (holdsPasswords || path !== config.path) secret.set(path, path);
  if (!holdsPasswords) secret.clear();
  for (const name of ['auth_file', 'client_tls_key_file', 'server_tls_key_file'] as const) {
    const path = settings[name];
    if (path !== null && path !== '') secret.set(path, name);
  }
  for (const [path, subject] of secret) {
    const bits = mode(path);
    if (bits === null) findings.add('error', 'missing-file', subject, `${path} cannot be found`);
    else if ((bits & OTHERS_READ) !== 0)
      findings.add(
        'warning',
        'secrets',
        subject,
        `${path} holds secrets and everybody can read it (${shown(bits)})`,
      );
  }
  const deciding = [settings.auth_file, settings.auth_hba_file, settings.auth_ident_file, ...files];
  for (const path of new Set(deciding)) {
    const bits = path === null || path === '' ? null : mode(path);
    if (bits !== null && (bits & OTHERS_WRITE) !== 0)
      findings.add('error', 'writable', path as string, `everybody can write it (${shown(bits)})`);
  }
}

function shown(bits: number): string {
  return `mode ${(bits & 0o777).toString(8).padStart(4, '0')}`;
}
