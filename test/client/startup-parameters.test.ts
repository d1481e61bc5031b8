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
    expect(read({ replication })).toMatchObject({ user: 'me', database: 'me' });
  });

  it.each([
    'database',
    'true',
    'TRUE',
    't',
    'yes',
    'y',
    'on',
    'On',
    '1',
  ])('%j asks for one that is refused', (replication) => {
    expect(read({ replication })).toMatchObject({
      sqlstate: '0A000',
      message: 'replication connections are not supported yet',
    });
  });
});

describe('a parameter that is not tracked', () => {
  it('is refused by its name, in options, too', () => {
    expect(read({ work_mem: '1' })).toMatchObject({ message: 'unsupported startup parameter: work_mem' });
    expect(read({ options: '-c work_mem=1' })).toMatchObject({
      message: 'unsupported startup parameter in options: work_mem',
    });
  });

  it('is dropped when ignore_startup_parameters names it, or options when it is in there', () => {
    expect(read({ work_mem: '1' }, ['work_mem'])).toMatchObject({ user: 'me' });
    expect(read({ options: '-c work_mem=1' }, ['work_mem'])).toMatchObject({ user: 'me' });
    expect(read({ options: '-c work_mem=1' }, ['options'])).toMatchObject({ user: 'me' });
  });
});
