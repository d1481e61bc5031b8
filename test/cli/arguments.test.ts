import { describe, expect, it } from 'vitest';
import { parseArguments } from '../../src/cli/arguments.ts';

describe('the command line', () => {
  it.each([
    [['a.ini'], false, 0],
    [['-q', 'a.ini'], true, 0],
    [['--quiet', 'a.ini'], true, 0],
    [['a.ini', '-v'], false, 1],
    [['-v', '-v', 'a.ini'], false, 2],
    [['-qvv', 'a.ini'], true, 2],
    [['--verbose', '--verbose', 'a.ini'], false, 2],
  ])('%j runs the daemon', (argv, quiet, verbose) => {
    expect(parseArguments(argv)).toEqual({ kind: 'run', configPath: 'a.ini', quiet, verbose });
  });

  it.each(['007', '1e3', '--', '-'])('leaves the config file %s as it was typed', (configPath) => {
    const argv = configPath === '--' ? ['--', '--'] : [configPath];
    expect(parseArguments(argv)).toMatchObject({ kind: 'run', configPath });
  });

  it('takes what follows -- for a file', () => {
    expect(parseArguments(['--', '-V'])).toMatchObject({ kind: 'run', configPath: '-V' });
  });

  it.each([['-V'], ['--version'], ['-q', '-V', 'a.ini']])('%s %s %s asks for the version', (...argv) => {
    expect(parseArguments(argv.filter((word) => word !== undefined))).toEqual({ kind: 'version' });
  });

  it.each([['-h'], ['--help']])('%s asks for help', (argument) => {
    expect(parseArguments([argument])).toEqual({ kind: 'help' });
  });

  it.each([
    [[], 'no config file given'],
    [['-q'], 'no config file given'],
    [['a.ini', 'b.ini'], 'more than one config file given'],
    [['--nope', 'a.ini'], 'Unknown argument: nope'],
    [['-x', 'a.ini'], 'Unknown argument: x'],
    [['-u'], 'Not enough arguments following: u'],
    [['-d', 'a.ini'], 'option --daemon is not supported yet'],
    [['-dq', 'a.ini'], 'option --daemon is not supported yet'],
    [['-u', 'www', 'a.ini'], 'option --user is not supported yet'],
    [['--user=www', 'a.ini'], 'option --user is not supported yet'],
    [['-R', 'a.ini'], 'option --reboot is not supported yet'],
  ])('%j is refused', (argv, message) => {
    expect(parseArguments(argv)).toEqual({ kind: 'error', message });
  });
});
