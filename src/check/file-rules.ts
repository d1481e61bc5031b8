import type { Config } from '../config/config.ts';
import { exposure, type ModeOf, modeOf, secretFiles, shownMode } from '../config/secret-files.ts';
import type { Findings } from './finding.ts';

const OTHERS_WRITE = 0o002;

/** Files that decide who gets in, or what is taken for a server. */
const DECIDING = [
  'auth_file',
  'auth_hba_file',
  'auth_ident_file',
  'client_tls_ca_file',
  'client_tls_cert_file',
  'client_tls_key_file',
  'server_tls_ca_file',
  'server_tls_cert_file',
  'server_tls_key_file',
] as const;

/** Files with secrets that others on the machine can read, and files that decide who gets in and others can write. */
export function checkFiles(
  findings: Findings,
  config: Config,
  files: readonly string[],
  mode: ModeOf = modeOf,
): void {
  const { settings } = config;
  for (const [path, subject] of secretFiles(config)) {
    const bits = mode(path);
    if (bits === null) {
      findings.add('error', 'missing-file', subject, `${path} cannot be found`);
      continue;
    }
    const warning = exposure(path, bits);
    if (warning !== null) findings.add('warning', 'secrets', subject, warning);
  }
  const named = DECIDING.map((name) => settings[name]);
  const deciding = [...named, ...files];
  for (const path of new Set(deciding)) {
    const bits = path === null || path === '' ? null : mode(path);
    if (bits !== null && (bits & OTHERS_WRITE) !== 0)
      findings.add('error', 'writable', path as string, `everybody can write it (${shownMode(bits)})`);
  }
}
