import { expect, it } from 'vitest';
import { type AlignedClient, alignServer } from '../../src/client/alignment.ts';
import { NO_EXTRAS } from '../../src/relay/extra-parameters.ts';
import { GivenParameters } from '../../src/relay/given-parameters.ts';
import type { ServerEnd } from '../../src/relay/link.ts';
import { TrackedParameters } from '../../src/relay/tracked-parameters.ts';

const tracked = new TrackedParameters(['transaction_timeout']);

/** A client that gave these values, by name. */
function client(values: Readonly<Record<string, string>>): AlignedClient {
  const parameters = tracked.names.map((name) => values[name] ?? null);
  return { parameters, given: new GivenParameters(tracked, parameters, NO_EXTRAS), extras: NO_EXTRAS };
}

/** A server that reports a time zone, takes what it is set to, and has these parameters without reporting them. */
function server(silent: readonly string[]) {
  const said: string[] = [];
  const end: Pick<ServerEnd, 'parameters' | 'extras' | 'base' | 'isSet' | 'silent' | 'alignParameters'> = {
    parameters: tracked.names.map((name) => (name === 'TimeZone' ? 'UTC' : null)),
    extras: NO_EXTRAS,
    base: NO_EXTRAS,
    isSet: [],
    silent,
    alignParameters: (sql, done) => {
      said.push(sql);
      end.parameters[tracked.indexOf('TimeZone')] = 'Asia/Tokyo';
      done(null);
    },
  };
  return { said, end: end as ServerEnd };
}

it('a parameter that one server of a pool does not have is there on the next one that has it', () => {
  const given = client({ TimeZone: 'Asia/Tokyo', transaction_timeout: '5s' });
  const [old, recent] = [server([]), server(['transaction_timeout'])];
  const done = (error: unknown) => expect(error).toBeNull();
  alignServer(tracked, given, old.end, done);
  expect(old.said).toEqual(["SET TimeZone='Asia/Tokyo';"]);
  alignServer(tracked, given, recent.end, done);
  expect(recent.said.join('')).toContain("set_config('transaction_timeout','5s',false)");
  expect(given.given.get('transaction_timeout')).toBe('5s');
});
