import pg from 'pg';
import { type Target, testDriver } from './kit.ts';
import { PgUsers } from './pg-kit.ts';

/** Statements are cancelled by a cancel request. */
class CancellingUsers extends PgUsers {
  readonly #target: Target;

  constructor(target: Target, connections: number) {
    super(target, connections);
    this.#target = target;
  }

  cancel(text: string, running: () => Promise<unknown>): Promise<unknown> {
    return this.withClient(async (client) => {
      const query = new pg.Query(text);
      const ended = new Promise((resolve, reject) => {
        query.on('error', reject);
        query.on('end', resolve);
      });
      client.query(query);
      await running();
      // Not in its types: the cancel request is sent by a second client, which must be new.
      const canceller = new pg.Client(this.#target) as pg.Client & {
        cancel(client: unknown, query: unknown): void;
      };
      canceller.on('error', () => {});
      canceller.cancel(client, query);
      return ended;
    });
  }
}

testDriver({
  name: 'pg',
  named: true,
  open: async (target, connections) => new CancellingUsers(target, connections),
});
