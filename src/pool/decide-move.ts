/**
 * When a server connection goes to another event loop, as pure functions. Within a loop whoever waits longest is served
 * first; between loops that would take a move for nearly every transaction. So:
 *
 * - a server that nobody waits for here goes where somebody has waited for {@link IDLE_WAIT_MS};
 * - one that somebody waits for here goes where somebody has waited longer, by {@link HEAD_START_MS} or by half of the
 *   wait here, whichever is more;
 * - a pool gives one away each {@link SPACING_MS}, and no more than {@link MOVES_PER_SECOND}; while somebody waits here, no
 *   sooner than {@link moveSpacingMs} says, for waits tell of a move only when the queue has got through.
 *
 * What a client can count on is {@link unfairnessMs}.
 */

/** Waits this short end by themselves more cheaply than by a move, as long as loops have about as much to do. */
export const IDLE_WAIT_MS = 5;
export const HEAD_START_MS = 20;
/** Time for what has moved to show in the waits. */
export const SPACING_MS = 5;
/** Of one pool on one loop. */
export const MOVES_PER_SECOND = 100;

/** What {@link decideMove} looks at: a pool that has a server at rest. */
export interface MoveView {
  /** How long the pool's first client here has been waiting; null: nobody waits. */
  readonly waitMs: number | null;
  /** How long the one has that waits longest for the same pool on other loops; null: nobody waits there. */
  readonly otherWaitMs: number | null;
  /** Since the pool gave a server away here; Infinity: never. */
  readonly sinceMoveMs: number;
  /** So many it gave away here within the last second. */
  readonly movesLastSecond: number;
}

export type MoveDecision =
  | { readonly action: 'move' }
  | { readonly action: 'keep'; readonly reason: 'nobody waits' | 'too soon' | 'too many' | 'not longer' };

/** Whether a server at rest goes to the loop where a client has waited for so long. */
export function decideMove(view: MoveView): MoveDecision {
  const { waitMs, otherWaitMs } = view;
  if (otherWaitMs === null) return { action: 'keep', reason: 'nobody waits' };
  const startMs = waitMs === null ? IDLE_WAIT_MS : waitMs + headStartMs(waitMs);
  if (otherWaitMs < startMs) return { action: 'keep', reason: 'not longer' };
  const spacingMs = waitMs === null ? SPACING_MS : moveSpacingMs(otherWaitMs);
  if (view.sinceMoveMs < spacingMs) return { action: 'keep', reason: 'too soon' };
  if (view.movesLastSecond >= MOVES_PER_SECOND) return { action: 'keep', reason: 'too many' };
  return { action: 'move' };
}

/**
 * When a loop whose first client of a pool has been waiting for `waitMs` is to ask the others for a server, in ms from now:
 * again and again while it waits. `sinceAskMs`: since it asked last; Infinity: never.
 */
export function askInMs(waitMs: number, sinceAskMs: number): number {
  return Math.max(0, IDLE_WAIT_MS - waitMs, SPACING_MS - sinceAskMs);
}

/**
 * What a client can count on: nobody on another loop goes before it who came later by more than this, but for
 * {@link SPACING_MS} and {@link moveSpacingMs} of the longest wait elsewhere behind each move from there: as many as that pool has
 * servers to lose, as long as it has moves left in this second. `waitMs`: how long the later one has waited when it is
 * served; `wayMs`: how long question and move take.
 */
export function unfairnessMs(waitMs: number, wayMs: number): number {
  return Math.max(IDLE_WAIT_MS + SPACING_MS, headStartMs(waitMs)) + wayMs;
}

/** Between two servers that a pool gives away while somebody waits here, and for so long there. */
export function moveSpacingMs(otherWaitMs: number): number {
  return Math.max(SPACING_MS, otherWaitMs / 2);
}

function headStartMs(waitMs: number): number {
  return Math.max(HEAD_START_MS, waitMs / 2);
}
