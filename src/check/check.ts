import type { Config } from '../config/config.ts';
import { checkAccess } from './access-rules.ts';
import { capacityOf, type ServerCapacity } from './capacity.ts';
import { checkCapacity, type ServerLimits } from './capacity-rules.ts';
import { NO_RULES } from '../config/hba-source.ts';
import type { ModeOf } from '../config/secret-files.ts';
import { checkCertificates } from './certificate-rules.ts';
import { checkFiles } from './file-rules.ts';
import { Findings } from './finding.ts';
import { checkHba } from './hba-rules.ts';
import { KnownUsers } from './known-users.ts';
import { checkModes } from './mode-rules.ts';
import { readSetUp } from './read.ts';
import type { Report } from './report.ts';
import { checkTimeouts } from './timeout-rules.ts';
import { checkTls } from './tls-rules.ts';
import { verdictsOf } from './verdicts.ts';

export interface CheckOptions {
  /** So many processes with this configuration are to run. */
  readonly instances: number;
  /** Asks a server for its limits; rejects with why it cannot. Null: servers are not asked. */
  readonly ask: ((config: Config, capacity: ServerCapacity) => Promise<ServerLimits>) | null;
  readonly modeOf?: ModeOf;
}

/**
 * Examines the configuration in `path` and what belongs to it: what of it is wrong, dangerous, or other than it is with
 * PgBouncer. Throws nothing for a bad one.
 */
export async function checkSetUp(path: string, { instances, ask, modeOf }: CheckOptions): Promise<Report> {
  const { config, errors, statements, positions, files } = readSetUp(path);
  const findings = new Findings(positions);
  for (const { key, expected, file, line } of errors) {
    findings.add('error', 'configuration', key, `expected ${expected}`, { file, line });
  }
  const capacities = config === null ? [] : capacityOf(config);
  if (config !== null) {
    for (const warning of config.warnings) {
      // A file without rules is an error of its own.
      if (!warning.endsWith(NO_RULES)) findings.add('warning', 'configuration', '', warning);
    }
    const users = new KnownUsers(config);
    checkAccess(findings, config, users);
    checkHba(findings, config, users);
    checkFiles(findings, config, files, modeOf);
    checkTls(findings, config);
    checkCertificates(findings, config);
    const given = new Set(positions.keys());
    checkTimeouts(findings, config, given);
    checkModes(findings, config, given);
    for (const capacity of capacities) {
      let limits: ServerLimits | null = null;
      try {
        if (ask !== null) limits = await ask(config, capacity);
      } catch (error) {
        findings.add(
          'error',
          'connect',
          capacity.server,
          error instanceof Error ? error.message : String(error),
        );
      }
      checkCapacity(findings, capacity, instances, limits);
    }
    if (config.autoDatabase !== null) {
      const text =
        'each name that clients ask for has pools of its own: the capacity counts those of one name';
      findings.add('note', 'unbounded', '[databases] *', text);
    }
  }
  return { file: path, instances, findings: findings.all, verdicts: verdictsOf(statements), capacities };
}
