import type { Target } from './target.ts';
import { authTargets } from './targets/auth.ts';
import { configTargets } from './targets/config.ts';
import { ruleTargets } from './targets/rules.ts';
import { consoleTargets } from './targets/console.ts';
import { sqlTargets } from './targets/sql.ts';
import { tlsTargets } from './targets/tls.ts';
import { wireTargets } from './targets/wire.ts';

/** Every parser that takes bytes from outside. */
export const targets: readonly Target[] = [
  ...wireTargets,
  ...authTargets,
  ...tlsTargets,
  ...configTargets,
  ...ruleTargets,
  ...consoleTargets,
  ...sqlTargets,
];
