import { expect, it } from 'vitest';
import { NO_EXTRAS } from '../../src/relay/extra-parameters.ts';
import { GivenParameters } from '../../src/relay/given-parameters.ts';
import type { ClientEnd } from '../../src/relay/link.ts';
import { StatementCache } from '../../src/prepared/statement.ts';
import { TrackedParameters } from '../../src/relay/tracked-parameters.ts';
import { SessionState } from '../../src/server/session-state.ts';

const cache = new StatementCache();

/** A server's session without the server. */
class Session extends SessionState {
  protected override readonly isMidMessage = false;

  constructor() {
    super(new TrackedParameters(['app.tenant']), cache);
  }

  says(name: string, value: string): void {
    this.introduced(name, value);
  }

  /** `client` runs a RESET, and is asked about `name` then. */
  reset(client: ClientEnd, name: string, value: string): void {
    this.done('reset', client);
    this.answered([{ name, value, isSet: null }], client);
  }

  /** As another event loop gets it. */
  moved(): Session {
    const there = new Session();
    there.restoreSession(this.movedSession(), cache);
    return there;
  }
}

it('what connect_query has set of a tracked parameter goes along with a session', () => {
  const session = new Session();
  session.says('TimeZone', 'UTC');
  session.says('TimeZone', 'Asia/Tokyo');
  session.begun([['TimeZone', 'UTC']]);
  session.known([{ name: 'timezone', value: 'Asia/Tokyo', isSet: true }], true);
  expect(session.moved().begunWith[session.tracked.indexOf('TimeZone')]).toBe('Asia/Tokyo');
});

it('what the configuration says of a parameter that nothing declares goes along with a session', () => {
  const session = new Session();
  session.begun([]);
  session.known([{ name: 'app.tenant', value: 'configured', isSet: null }], false);
  const { tracked } = session;
  const given = new GivenParameters(tracked, [], new Map([['app.tenant', 'given']]));
  const client = { parameters: tracked.emptyValues(), given, extras: NO_EXTRAS } as unknown as ClientEnd;
  session.moved().reset(client, 'app.tenant', 'configured');
  expect(client.extras.get('app.tenant')).toBe('given');
});
