import { statSync } from 'node:fs';
import type { Config } from './config.ts';

/** A file's mode bits; null: there is none, or it cannot be looked at. */
export type ModeOf = (path: string) => number | null;

export const modeOf: ModeOf = (path) => {
  try {
    return statSync(path).mode;
  } catch {
    return null;
  }
};

type SecretHolders = Pick<Config, 'settings' | 'passwordFiles' | 'login'>;

const OTHERS_READ = 0o004;

/**
 * The files of a configuration that hold secrets, each with the setting that names it, or with its own name: the
 * configuration itself and rules of logins only where they have passwords in them.
 */
export function secretFiles(config: SecretHolders): Map<string, string> {
  const secret = new Map<string, string>();
  for (const path of config.passwordFiles) secret.set(path, path);
  for (const { ldap, at } of config.login.hba ?? []) {
    if ((ldap?.bindPassword ?? '') !== '') secret.set(at.file, at.file);
  }
  for (const name of ['auth_file', 'client_tls_key_file', 'server_tls_key_file'] as const) {
    const path = config.settings[name];
    if (path !== null && path !== '') secret.set(path, name);
  }
  return secret;
}

/** What is wrong with the mode of a file that holds secrets; null: nothing. */
export function exposure(path: string, mode: number): string | null {
  if ((mode & OTHERS_READ) === 0) return null;
  return `${path} holds secrets and everybody can read it (${shownMode(mode)})`;
}

export function shownMode(bits: number): string {
  return `mode ${(bits & 0o777).toString(8).padStart(4, '0')}`;
}

/** Lines for the log about files with secrets that everybody on the machine can read. */
export function secretFileWarnings(config: SecretHolders, mode: ModeOf = modeOf): string[] {
  const warnings: string[] = [];
  for (const path of secretFiles(config).keys()) {
    const bits = mode(path);
    const warning = bits === null ? null : exposure(path, bits);
    if (warning !== null) warnings.push(warning);
  }
  return warnings;
}
