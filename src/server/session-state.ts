import { ServerStatements } from '../prepared/server-statements.ts';
import type { StatementCache } from '../prepared/statement.ts';
import { type ExtraParameters, followReported, forgotten, NO_EXTRAS } from '../relay/extra-parameters.ts';
import type { ClientEnd } from '../relay/link.ts';
import { RequestTracker } from '../relay/request-tracker.ts';
import type { TrackedParameters, TrackedValues } from '../relay/tracked-parameters.ts';
import { TxStatus } from '../wire/codes.ts';
import type { SessionTag } from '../wire/command-complete.ts';

/** What PostgreSQL keeps for a server connection's session, as far as it follows clients, and what it owes them. */
export class SessionState {
  readonly tracker = new RequestTracker();
  readonly parameters: TrackedValues;
  readonly statements: ServerStatements;
  extras: ExtraParameters = NO_EXTRAS;
  readonly tracked: TrackedParameters;
  /** What the server reports before its next ReadyForQuery has been reset, not set. */
  protected isResetting = false;

  constructor(tracked: TrackedParameters, statements: StatementCache) {
    this.tracked = tracked;
    this.parameters = tracked.emptyValues();
    this.statements = new ServerStatements(statements);
  }

  /** RESET and SET have to be noticed. */
  get watchesTags(): boolean {
    return this.extras.size > 0;
  }

  isIdleInTransaction(): boolean {
    return this.tracker.txStatus !== TxStatus.Idle && this.tracker.isQuiet;
  }

  needsResync(): boolean {
    return this.tracker.isUnsure;
  }

  /** The server reports a value; `client` is whose doing it was. False: it has become another user's. */
  protected reported(name: string, value: string, client: ClientEnd | null): boolean {
    const index = this.tracked.indexOf(name);
    if (index < 0) return client === null || followReported(name, value, client, this, this.isResetting);
    this.parameters[index] = value;
    if (client !== null) client.parameters[index] = value;
    return true;
  }

  /** A statement was done that says `tag`; `client` is whose it was. */
  protected done(tag: SessionTag, client: ClientEnd | null): void {
    if (tag === null) return;
    this.isResetting = tag !== 'set';
    if (tag === 'set') return;
    this.extras = forgotten(this.extras);
    if (tag === 'reset') return;
    this.statements.clear();
    client?.statementsDropped();
  }
}
