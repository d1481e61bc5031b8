import type { ListNode } from '../base/list.ts';
import type { Grant } from '../pool/budget.ts';
import type { DedicatedClient, PoolClient, ServerState } from '../pool/peers.ts';
import type { ServerRoute } from './route.ts';
import type { ServerServices } from './services.ts';
import { SessionState } from './session-state.ts';

/** What is kept of a server connection beside its session and its bytes: for the pool that has it, and for `SHOW`. */
export abstract class PooledServer extends SessionState {
  listPrev: ListNode | null = null;
  listNext: ListNode | null = null;
  listOwner: object | null = null;
  state: ServerState = 'new';
  stateSinceMs: number;
  link: PoolClient | null = null;
  readonly dedicatedTo: DedicatedClient | null;
  cancelsInFlight = 0;
  ownCancelMs = 0;
  connectMs: number;
  readyMs = 0;
  connectWallMs: number;
  lastBytesMs: number;
  /** When the link was made (or the connection begun), monotonic ms. */
  requestMs: number;

  readonly id: number;
  readonly grant: Grant;
  readonly address: ServerRoute;
  backendKey: Buffer | null = null;
  /** Its links until now. */
  links = 0;

  constructor(
    { tracked, statements, clock }: ServerServices,
    id: number,
    grant: Grant,
    address: ServerRoute,
    dedicatedTo: DedicatedClient | null,
  ) {
    super(tracked, statements);
    this.id = id;
    this.grant = grant;
    this.address = address;
    this.dedicatedTo = dedicatedTo;
    this.connectMs = clock.nowMs();
    this.connectWallMs = clock.wallMs();
    this.stateSinceMs = this.connectMs;
    this.lastBytesMs = this.connectMs;
    this.requestMs = this.connectMs;
  }

  get isUntouched(): boolean {
    return this.links < 2;
  }

  get isCancellable(): boolean {
    return this.backendKey !== null;
  }

  /** A SUSPEND is over that was in force since then: a login stood still meanwhile. */
  resumed(sinceMs: number, nowMs: number): void {
    if (this.state === 'new') this.connectMs = Math.min(nowMs, this.connectMs + nowMs - sinceMs);
  }
}
