/** Writes docs/parity.md: `npm run parity`. */
import { writeFileSync } from 'node:fs';
import { renderParity } from './render.ts';

writeFileSync(new URL('../../docs/parity.md', import.meta.url), renderParity());
