import type { Config } from '../config/config.ts';
import { TlsContexts } from '../tls/contexts.ts';
import { TlsSettingError } from '../tls/setting-error.ts';
import type { Findings } from './finding.ts';

/** Whether TLS can be had by the settings, and by the files that they name. */
export function checkTls(findings: Findings, config: Config): void {
  try {
    new TlsContexts().prepare(config.settings);
  } catch (error) {
    if (!(error instanceof TlsSettingError)) throw error;
    const { setting, expected } = error;
    const isKnown = findings.all.some(({ level, subject }) => level === 'error' && subject === setting);
    if (!isKnown) findings.add('error', 'tls', setting, `expected ${expected}`);
  }
}
