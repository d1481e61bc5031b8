import type { InterludeHost } from './interlude.ts';
import type { OpeningHost } from './opening.ts';
import type { OwnQueryHost } from './own-queries.ts';
import type { RestHost } from './rest.ts';

/** The server connection as its parts see it. */
export type PartsHost = OpeningHost & OwnQueryHost & RestHost & InterludeHost;
