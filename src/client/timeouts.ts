import type { ClientLimits } from './services.ts';

/** A logged-in client as its timeouts see it; monotonic ms, 0 = not so. */
export interface ClientTimeView {
  readonly nowMs: number;
  readonly isLinked: boolean;
  /** In the queue for a server (not for the login's welcome). */
  readonly waitStartMs: number;
  readonly queryStartMs: number;
  /** Since when it has been logged in and unlinked. */
  readonly idleSinceMs: number;
}

/** The text that closes a client for taking, or waiting, too long; or null. Source: contract, §1.6. */
export function decideClientTimeout(view: ClientTimeView, limits: ClientLimits): string | null {
  if (view.isLinked) return null;
  if (view.waitStartMs > 0) {
    // One deadline for the wait, whatever part of a query it is; a running PAUSE doesn't stop it.
    const startMs = view.queryStartMs > 0 ? view.queryStartMs : view.waitStartMs;
    const waitedMs = view.nowMs - startMs;
    if (limits.queryTimeoutMs > 0 && waitedMs > limits.queryTimeoutMs) return 'query_timeout';
    if (limits.queryWaitTimeoutMs > 0 && waitedMs > limits.queryWaitTimeoutMs) return 'query_wait_timeout';
    return null;
  }
  if (limits.clientIdleTimeoutMs > 0 && view.nowMs - view.idleSinceMs > limits.clientIdleTimeoutMs) {
    return 'client_idle_timeout';
  }
  return null;
}
