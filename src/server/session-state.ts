import type { Abandonment } from '../pool/peers.ts';
import { ServerStatements } from '../prepared/server-statements.ts';
import type { StatementCache } from '../prepared/statement.ts';
import { type ExtraParameters, followReported, forgotten, NO_EXTRAS } from '../relay/extra-parameters.ts';
import type { ClientEnd } from '../relay/link.ts';
import type { TrackedParameters, TrackedValues } from '../relay/tracked-parameters.ts';
import type { SessionTag } from '../wire/command-complete.ts';

/** What PostgreSQL keeps for a server connection's session, as far as it follows clients. */
export abstract class SessionState {
  readonly parameters: TrackedValues;
  readonly statements: ServerStatements;
  extras: ExtraParameters = NO_EXTRAS;
  abandoned: Abandonment | null = null;
  readonly tracked: TrackedParameters;
  /** What the server reports before its next ReadyForQuery has been reset, not set. */
  protected isResetting = false;
  #closeNeeded = false;

  constructor(tracked: TrackedParameters, statements: StatementCache) {
    this.tracked = tracked;
    this.parameters = tracked.emptyValues();
    this.statements = new ServerStatements(statements);
  }

  /** RESET and SET have to be noticed. */
  get watchesTags(): boolean {
    return this.extras.size > 0;
  }

  /** Nobody else may have this session. */
  get closeNeeded(): boolean {
    return this.#closeNeeded || this.statements.isBroken || this.isMidMessage;
  }

  set closeNeeded(needed: boolean) {
    this.#closeNeeded = needed;
  }

  /** A message that nobody asked for has come in part: its rest would be read as an answer. */
  protected abstract readonly isMidMessage: boolean;

  /** The server reports a value; `client` is whose doing it was, if it isn't gone. */
  protected reported(name: string, value: string, client: ClientEnd | null): void {
    const index = this.tracked.indexOf(name);
    if (index >= 0) {
      this.parameters[index] = value;
      if (client !== null) client.parameters[index] = value;
    } else if (this.abandoned !== null) {
      // Whatever it is, nobody is there any more whom it could follow.
      this.#closeNeeded = true;
    } else if (client !== null && !followReported(name, value, client, this, this.isResetting)) {
      // Another role or user.
      this.#closeNeeded = true;
    }
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
