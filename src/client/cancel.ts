import type { ClientConnection, ClientPhase } from './connection.ts';

/**
 * A connection that carries a CancelRequest. It gets no answer, whatever becomes of the request, and stays open
 * until that is known. Source: manual, `protocol-flow`, Canceling Requests in Progress.
 */
export class CancelPhase implements ClientPhase {
  constructor(connection: ClientConnection, key: Buffer) {
    connection.services.cancel(key, connection.address.kind).then(
      ({ reason, isKnown }) => {
        connection.close(reason);
        if (!isKnown) connection.visit?.cancelsInVain();
      },
      () => connection.close('failed to send cancel request'),
    );
  }

  /** Some drivers send bytes behind the request: ignored. */
  bytes(): void {}

  drained(): void {}

  isMidAnswer(): boolean {
    return false;
  }

  /** `cancel_wait_timeout` is the pool's to keep. */
  sweep(): void {}

  closing(): void {}
}
