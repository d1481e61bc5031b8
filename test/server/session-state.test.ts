import { expect, it } from 'vitest';
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
