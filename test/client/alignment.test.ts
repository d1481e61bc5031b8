import { expect, it } from 'vitest';
import { type AlignedClient, alignServer, isAligned } from '../../src/client/alignment.ts';
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
  const end: Pick<
    ServerEnd,
    'parameters' | 'extras' | 'base' | 'isSet' | 'begunWith' | 'silent' | 'alignParameters'
  > = {
    parameters: tracked.names.map((name) => (name === 'TimeZone' ? 'UTC' : null)),
    extras: NO_EXTRAS,
    base: NO_EXTRAS,
    isSet: [],
    begunWith: [],
    silent,
    alignParameters: (texts, done) => {
      said.push(...texts);
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
  expect(recent.said.join('')).toMatch(
    /^SET TRANSACTION ISOLATION LEVEL READ COMMITTED;.*set_config\('transaction_timeout','5s',false\)/,
  );
  expect(given.given.get('transaction_timeout')).toBe('5s');
});

it.each([
  ['UTF8', 'LATIN1', []],
  ['LATIN1', 'LATIN1', ["SET client_encoding='LATIN1';"]],
  ['WIN1252', 'LATIN1', ["SET client_encoding='WIN1252';"]],
] as const)('a text beyond ASCII goes in UTF8 and in one round trip: a client of %s on a server of %s', (wanted, actual, back) => {
  const given = client({ client_encoding: wanted, application_name: 'größer' });
  const { end } = server([]);
  const at = tracked.indexOf('client_encoding');
  end.parameters.fill(null);
  end.parameters[at] = actual;
  end.parameters[tracked.indexOf('application_name')] = 'other';
  const trips: (readonly string[])[] = [];
  let answer: (error: null) => void = () => {};
  end.alignParameters = (texts, done) => {
    trips.push(texts);
    answer = done;
  };
  let isDone = false;
  alignServer(tracked, given, end, () => {
    isDone = true;
  });
  expect(trips).toEqual([["SET client_encoding='UTF8';", `${back.join('')}SET application_name='größer';`]]);
  end.parameters[at] = wanted;
  answer(null);
  expect([isDone, end.isSet[at], given.parameters[at]]).toEqual([true, true, wanted]);
});

it('a value that is the server’s but for its case is taken over as the server has it', () => {
  const given = client({ client_encoding: 'utf8', standard_conforming_strings: 'OFF' });
  const { end, said } = server([]);
  const [encoding, strings] = [
    tracked.indexOf('client_encoding'),
    tracked.indexOf('standard_conforming_strings'),
  ];
  end.parameters.fill(null);
  end.parameters[encoding] = 'UTF8';
  end.parameters[strings] = 'off';
  alignServer(tracked, given, end, (failure) => expect(failure).toBeNull());
  expect(said).toEqual([]);
  expect([given.parameters[encoding], given.parameters[strings]]).toEqual(['UTF8', 'off']);
  expect(given.given.get('client_encoding')).toBe('UTF8');
  expect(isAligned(tracked, given, end)).toBe(true);
});

it.each([
  ['the client where others’ leftovers can be taken back', false],
  ['the server where they cannot', true],
])('what fails is the fault of %s', (_whose, isServers) => {
  const given = { ...client({}), extras: new Map([['work_mem', 'much']]) };
  const { end } = server([]);
  end.parameters.fill(null);
  end.extras = new Map([['lock_timeout', '7s']]);
  const error = { message: 'no' };
  end.alignParameters = ([text], done) => done(text === 'RESET lock_timeout;' && !isServers ? null : error);
  alignServer(tracked, given, end, (failure) => expect(failure).toEqual({ error, isServers }));
  expect([...end.extras.keys()]).toEqual(isServers ? ['lock_timeout'] : []);
});
