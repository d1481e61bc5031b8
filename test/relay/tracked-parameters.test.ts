import { describe, expect, it } from 'vitest';
import { TrackedParameters } from '../../src/relay/tracked-parameters.ts';

const tracked = new TrackedParameters(['IntervalStyle', 'search_path']);
const none = tracked.emptyValues();

/** Values by name; all others unknown. */
function values(known: Readonly<Record<string, string>>): (string | null)[] {
  return tracked.names.map((name) => known[name] ?? null);
}

describe('TrackedParameters', () => {
  it('lists the standard five, then the configured ones as they are written', () => {
    expect(tracked.names).toEqual([
      'DateStyle',
      'client_encoding',
      'TimeZone',
      'standard_conforming_strings',
      'application_name',
      'IntervalStyle',
      'search_path',
    ]);
    expect(none).toEqual(Array.from({ length: 7 }, () => null));
  });

  it('lists nothing that no session keeps', () => {
    expect(new TrackedParameters(['seed', 'Transaction_Isolation', 'x']).names.slice(5)).toEqual(['x']);
  });

  it('lists nothing that nobody can set: servers that differ in it could not be made the same', () => {
    const names = [
      'in_hot_standby',
      'Server_Version',
      'server_encoding',
      'is_superuser',
      'integer_datetimes',
      'x',
    ];
    expect(new TrackedParameters(names).names.slice(5)).toEqual(['x']);
  });

  it('takes no name twice, in whatever case', () => {
    expect(new TrackedParameters(['timezone', 'x', 'X']).names.slice(5)).toEqual(['x']);
  });

  it('finds names in any case', () => {
    expect([
      tracked.indexOf('TIMEZONE'),
      tracked.indexOf('intervalstyle'),
      tracked.indexOf('work_mem'),
    ]).toEqual([2, 5, -1]);
  });
});

describe('the query that makes a server’s values the client’s', () => {
  it.each([
    ['is not needed when nothing is known', {}, {}, null],
    ['is not needed for equal values', { TimeZone: 'UTC' }, { TimeZone: 'UTC' }, null],
    [
      'is not needed for values that differ in case only, where case means nothing',
      { client_encoding: 'utf8', DateStyle: 'iso, mdy', IntervalStyle: 'ISO_8601' },
      { client_encoding: 'UTF8', DateStyle: 'ISO, MDY', IntervalStyle: 'iso_8601' },
      null,
    ],
    [
      'sets values that differ in case only, where that may be another name',
      { application_name: 'APP', search_path: '"Tenant"' },
      { application_name: 'app', search_path: '"tenant"' },
      `SET application_name='APP';SELECT pg_catalog.set_config('search_path','"Tenant"',false);`,
    ],
    ['takes back what the client does not know', {}, { TimeZone: 'UTC' }, 'RESET TimeZone;'],
    ['leaves alone what the server does not report', { TimeZone: 'UTC' }, {}, null],
    [
      'sets all that differ, in the order of the list',
      { TimeZone: 'UTC', DateStyle: 'ISO', IntervalStyle: 'iso_8601' },
      { TimeZone: 'CET', DateStyle: 'ISO, MDY', IntervalStyle: 'postgres' },
      "RESET DateStyle;SET DateStyle='ISO';SET TimeZone='UTC';SET IntervalStyle='iso_8601';",
    ],
    [
      'takes back what the last client has left of a DateStyle of which only a part is wanted',
      { DateStyle: 'ISO' },
      { DateStyle: 'ISO, DMY' },
      "RESET DateStyle;SET DateStyle='ISO';",
    ],
    [
      'does so where a comma stands between two words for the same part',
      { DateStyle: 'DMY, European' },
      { DateStyle: 'SQL, MDY' },
      "RESET DateStyle;SET DateStyle='DMY, European';",
    ],
    [
      'sets a whole DateStyle at once',
      { DateStyle: 'ISO, MDY' },
      { DateStyle: 'SQL, DMY' },
      "SET DateStyle='ISO, MDY';",
    ],
    [
      'sets an empty value',
      { application_name: '' },
      { application_name: 'psql' },
      "SET application_name='';",
    ],
    [
      'quotes what would end the string',
      { application_name: "a';DROP TABLE t;--" },
      { application_name: '' },
      "SET application_name='a'';DROP TABLE t;--';",
    ],
    [
      'quotes JSON with backslashes',
      { application_name: '{"a":"\\"}' },
      { application_name: '' },
      `SET application_name=E'{"a":"\\\\"}';`,
    ],
    [
      'hands search_path over as the list that it is',
      { search_path: '"$user", public' },
      { search_path: 'a' },
      `SELECT pg_catalog.set_config('search_path','"$user", public',false);`,
    ],
  ])('%s', (_what, wanted, actual, sql) => {
    const client = { parameters: values(wanted), given: { parameters: none } };
    expect(tracked.alignmentSql(client, { parameters: values(actual), isSet: [], begunWith: none })).toBe(
      sql,
    );
  });

  it('sets what is the same by chance only, where the client gave something else, once', () => {
    const client = {
      parameters: values({ TimeZone: 'UTC', DateStyle: 'ISO, MDY' }),
      given: { parameters: values({ TimeZone: 'Asia/Tokyo', DateStyle: 'ISO, MDY' }) },
    };
    const server = {
      parameters: values({ TimeZone: 'UTC', DateStyle: 'ISO, MDY' }),
      isSet: [] as boolean[],
      begunWith: none,
    };
    expect(tracked.alignmentSql(client, server)).toBe("SET TimeZone='UTC';");
    server.isSet[tracked.indexOf('TimeZone')] = true;
    expect(tracked.alignmentSql(client, server)).toBeNull();
  });

  it('does so where connect_query has set something else, and the client has given nothing', () => {
    const client = { parameters: values({ TimeZone: 'UTC' }), given: { parameters: none } };
    const server = {
      parameters: values({ TimeZone: 'UTC' }),
      isSet: [] as boolean[],
      begunWith: values({ TimeZone: 'Asia/Tokyo' }),
    };
    expect(tracked.isAligned(client, server)).toBe(false);
    expect(tracked.alignmentSql(client, server)).toBe("SET TimeZone='UTC';");
    server.isSet[tracked.indexOf('TimeZone')] = true;
    expect(tracked.isAligned(client, server)).toBe(true);
  });
});
