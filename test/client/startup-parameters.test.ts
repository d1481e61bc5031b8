import { describe, expect, it } from 'vitest';
import { readStartupParameters } from '../../src/client/startup-parameters.ts';
import { TrackedParameters } from '../../src/relay/tracked-parameters.ts';

const tracked = new TrackedParameters([]);

/** What becomes of a StartupMessage with these parameters beside the user's name. */
function read(parameters: Readonly<Record<string, string>>, ignored: readonly string[] = []) {
  return readStartupParameters([['user', 'me'], ...Object.entries(parameters)], tracked, ignored);
}

describe('the value of replication', () => {
  it.each([
    '',
    'false',
    'FALSE',
    'f',
    'no',
    'n',
    'off',
    'of',
    '0',
    'o',
    'x',
    'DATABASE',
    'truer',
  ])('%j asks for an ordinary connection', (replication) => {
    expect(read({ replication })).toMatchObject({ user: 'me', database: 'me', replication: 'none' });
  });

  it('"database" asks for logical replication', () => {
    expect(read({ replication: 'database' })).toMatchObject({ replication: 'logical' });
  });

  it.each([
    'true',
    'TRUE',
    't',
    'yes',
    'y',
    'on',
    'On',
    '1',
  ])('%j asks for physical replication', (replication) => {
    expect(read({ replication })).toMatchObject({ replication: 'physical' });
  });

  it('has options passed on as they are, wherever it stands and whatever is ignored', () => {
    const options = '-c work_mem=1 -B 100 --x';
    for (const ignored of [[], ['options']]) {
      expect(read({ options, replication: 'database', Work_Mem: '2' }, ignored)).toMatchObject({
        replication: 'logical',
        extras: new Map([
          ['options', options],
          ['work_mem', '2'],
        ]),
      });
    }
    expect(read({ options, replication: 'no' })).toMatchObject({ sqlstate: '08P01' });
  });

  it('leaves refused what nobody can set', () => {
    expect(read({ replication: 'yes', role: 'x' })).toMatchObject({
      message: 'unsupported startup parameter: role',
    });
  });
});

describe('a parameter that is not tracked', () => {
  it.each([
    'DATABASE',
    'User',
    'REPLICATION',
    'Options',
    '_PQ_.x',
  ])('is never one that says in another case what the message itself says: %s', (name) => {
    const message = `unsupported startup parameter: ${name}`;
    expect(read({ [name]: 'x' })).toMatchObject({ message });
    expect(read({ replication: 'database', [name]: 'x' })).toMatchObject({ message });
  });

  it('is kept for the servers to be set to, from options, too', () => {
    const request = read({ Work_Mem: '1', options: '-c lock_timeout=2 -c a.b=3' });
    expect(request).toMatchObject({
      extras: new Map([
        ['work_mem', '1'],
        ['lock_timeout', '2'],
        ['a.b', '3'],
      ]),
    });
  });

  it.each([
    'role',
    'is_superuser',
    'Session_Authorization',
    'server_version',
    'a b',
    "a'",
    'ä',
    '1a',
    'a.',
  ])('is refused by its name where nobody can set it: %s', (name) => {
    expect(read({ [name]: '1' })).toMatchObject({ message: `unsupported startup parameter: ${name}` });
    if (name !== 'a b') {
      expect(read({ options: `-c ${name}=1` })).toMatchObject({
        message: `unsupported startup parameter in options: ${name}`,
      });
    }
  });

  it('that has a value of its own has that one, wherever options stand', () => {
    const options = '-c TimeZone=UTC -c work_mem=1';
    for (const given of [
      { options, TimeZone: 'Asia/Tokyo', work_mem: '2' },
      { TimeZone: 'Asia/Tokyo', work_mem: '2', options },
    ]) {
      const request = read(given);
      if (!('extras' in request)) throw new Error('refused');
      expect(request.parameters[tracked.indexOf('TimeZone')]).toBe('Asia/Tokyo');
      expect([...request.extras]).toEqual([['work_mem', '2']]);
    }
  });

  it('is dropped when ignore_startup_parameters names it, or options when it is in there', () => {
    for (const [given, ignored] of [
      [{ work_mem: '1' }, 'work_mem'],
      [{ options: '-c work_mem=1' }, 'work_mem'],
      [{ options: '-c work_mem=1' }, 'options'],
    ] as const) {
      expect(read(given)).toMatchObject({ user: 'me', extras: new Map([['work_mem', '1']]) });
      expect(read(given, [ignored])).toMatchObject({ user: 'me', extras: new Map() });
    }
  });

  it('is dropped so where nobody could set it, too', () => {
    expect(read({ role: 'x' }, ['role'])).toMatchObject({ user: 'me', extras: new Map() });
    expect(read({ options: '-c role=x' }, ['options'])).toMatchObject({ user: 'me', extras: new Map() });
  });
});
