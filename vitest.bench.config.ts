import { defineConfig } from 'vitest/config';

/**
 * `npm run bench:micro`: functions of the hot path, each for itself. Modules are loaded by Node as they are: Vitest's
 * own way of loading them costs as much at each call as what is measured.
 */
export default defineConfig({
  test: {
    include: [],
    benchmark: { include: ['test/bench/micro/*.bench.ts'] },
    experimental: { viteModuleRunner: false },
    pool: 'forks',
    testTimeout: 120_000,
  },
});
