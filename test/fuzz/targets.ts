import type { Target } from './target.ts';
import { authTargets } from './targets/auth.ts';
import { configTargets } from './targets/config.ts';
import { sqlTargets } from './targets/sql.ts';
import { wireTargets } from './targets/wire.ts';

/** Every parser that takes bytes from outside. */
export const targets: readonly Target[] = [...wireTargets, ...authTargets, ...configTargets, ...sqlTargets];
