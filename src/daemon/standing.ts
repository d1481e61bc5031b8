import type { PoolerState } from './context.ts';
import type { Loop } from './loop.ts';
import type { Standing } from './worker-messages.ts';

/** Before any command. */
export const AT_START: Standing = {
  command: 0,
  isPaused: false,
  isSuspended: false,
  attempt: null,
  pausedDatabases: [],
  disabledDatabases: [],
  shutdown: 'no',
};

/** What commands, up to this one, have brought about in a loop. */
export function standingOf(state: PoolerState, command: number): Standing {
  const databases = state.databases.all();
  return {
    command,
    isPaused: state.isPaused,
    isSuspended: state.isSuspended,
    attempt: state.suspension?.attempt ?? null,
    pausedDatabases: databases.filter(({ paused }) => paused).map(({ entry }) => entry.name),
    disabledDatabases: databases.filter(({ disabled }) => disabled).map(({ entry }) => entry.name),
    shutdown: state.shutdown,
  };
}

/** Brings a loop that has just been made to where the others are. */
export function putStanding({ state, control }: Loop, standing: Standing): void {
  for (const name of standing.pausedDatabases) {
    const database = state.databases.resolve(name);
    if (database !== null) database.paused = true;
  }
  for (const name of standing.disabledDatabases) {
    const database = state.databases.resolve(name);
    if (database !== null) database.disabled = true;
  }
  state.isPaused = standing.isPaused;
  state.shutdown = standing.shutdown;
  // Until it is said that no connection comes any more.
  state.isRetiring = standing.shutdown !== 'no';
  // Nobody waits for this one: RESUME ends it.
  if (standing.isSuspended) control.suspension.begin(new AbortController().signal, standing.attempt);
}
