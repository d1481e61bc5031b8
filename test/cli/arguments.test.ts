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

  it.each([
    [['check', 'a.ini'], { connects: false, instances: 1, isJson: false }],
    [['check', '--connect', '--json', 'a.ini'], { connects: true, instances: 1, isJson: true }],
    [['check', 'a.ini', '--instances', '50'], { connects: false, instances: 50, isJson: false }],
  ])('%j examines a file', (argv, expected) => {
    expect(parseArguments(argv)).toEqual({ kind: 'check', configPath: 'a.ini', ...expected });
  });

  it('runs the daemon on a file of the name check', () => {
    expect(parseArguments(['check'])).toMatchObject({ kind: 'run', configPath: 'check' });
  });

  it.each([
    [['check', 'a.ini', 'b.ini'], 'more than one config file given'],
    [['check', 'a.ini', '--instances', '0'], '--instances takes a number from 1 to 999999'],
    [['check', 'a.ini', '--instances', 'x'], '--instances takes a number from 1 to 999999'],
    [['--json', 'a.ini'], 'option --json belongs to check'],
  ])('%j is bad usage: %s', (argv, message) => {
    expect(parseArguments(argv)).toEqual({ kind: 'error', message });
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
