import assert from 'node:assert';
import { loginFailed } from '../pool/dedicated.ts';
import type { DedicatedClient, LoginFailure, PoolServer } from '../pool/peers.ts';
import type { WelcomeData } from '../pool/context.ts';
import type { Pool } from '../pool/pool.ts';
import { type ExtraParameters, NO_EXTRAS } from '../relay/extra-parameters.ts';
import type { ServerEnd } from '../relay/link.ts';
import type { RequestFilter } from '../relay/request-filter.ts';
import type { TrackedValues } from '../relay/tracked-parameters.ts';
import type { PgErrorFields } from '../wire/pg-error.ts';
import { type Replication, replicationValue } from '../wire/replication.ts';
import type { ClientConnection } from './connection.ts';
import { ClientSession } from './session.ts';
import { timeoutError } from './timeout-error.ts';

/**
 * A client that replicates. Its server connection is opened for it before its login ends, with the parameters that
 * it gave, and is its own until one of the two goes: nothing is ever set, reset, rewritten or read on it by us, for a
 * physical one takes no SQL and both take the simple protocol alone.
 *
 * | state | bytes from the client | leaves by |
 * | --- | --- | --- |
 * | waiting_dedicated | held | linked and welcomed → linked |
 * | linked | forwarded in runs | the end of either |
 */
export class ReplicationSession extends ClientSession implements DedicatedClient {
  readonly replication: Exclude<Replication, 'none'>;
  readonly startup: readonly (readonly [name: string, value: string])[];
  #welcome: WelcomeData = [];
  /** The server has gone behind the end of a stream. */
  #isStreamOver = false;

  constructor(
    connection: ClientConnection,
    pool: Pool,
    replication: Exclude<Replication, 'none'>,
    given: TrackedValues,
    extras: ExtraParameters,
  ) {
    const { tracked } = connection.services;
    // The server knows them from its own start on, so that all it reports is right as it is.
    super(connection, pool, tracked.emptyValues(), NO_EXTRAS);
    this.replication = replication;
    const startup: [string, string][] = [['replication', replicationValue(replication)]];
    tracked.names.forEach((name, i) => {
      const value = given[i];
      if (value !== null && value !== undefined) startup.push([name, value]);
    });
    this.startup = [...startup, ...extras];
  }

  /** It has proved who it is. */
  mayWrite(): boolean {
    return true;
  }

  override get filter(): RequestFilter | null {
    return null;
  }

  override start(): void {
    const { services } = this.connection;
    this.cancelKey = services.addSession(this);
    const refusal = services.refusesQueries();
    if (refusal !== null) this.connection.fail(refusal);
    else this.pool.dedicated.join(this);
  }

  override linked(server: PoolServer): void {
    // It was started with what the client gave, so what it reports is right as it is, and nothing has to be set.
    const { parameters } = server as PoolServer & ServerEnd;
    parameters.forEach((value, i) => {
      this.parameters[i] = value;
    });
    super.linked(server);
  }

  welcomed(welcome: WelcomeData): void {
    this.#welcome = welcome;
    this.welcomeReady();
  }

  notOpened(failure: LoginFailure): void {
    this.refused(loginFailed(failure));
  }

  override unlinked(): void {
    this.#isStreamOver = this.server?.tracker.isStreamOver === true;
    super.unlinked();
  }

  /**
   * A server that shuts down ends the stream, and the connection without ReadyForQuery: to a standby that is good
   * order, and an error of ours would make it a fault.
   */
  override refused(error: PgErrorFields): void {
    if (this.#isStreamOver) this.connection.close(error.message);
    else super.refused(error);
  }

  override sweep(nowMs: number): void {
    if (this.waitStartMs === 0) return;
    const timeoutMs = this.connection.services.settings().clientLoginTimeoutMs;
    if (timeoutMs > 0 && nowMs - this.connection.loginFromMs > timeoutMs) {
      this.connection.fail(timeoutError('client_login_timeout (server down)', this, nowMs));
    }
  }

  override needServer(): void {
    assert.fail('a replication client without its server');
  }

  override messageSent(): void {}

  protected override get welcome(): WelcomeData {
    return this.#welcome;
  }
}
