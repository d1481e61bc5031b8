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
    const plain = { kind: 'run', configPath: 'a.ini', daemon: false, user: null, reboot: false };
    expect(parseArguments(argv)).toEqual({ ...plain, quiet, verbose });
  });

  it.each([
    [['-d', 'a.ini'], true, null],
    [['--daemon', 'a.ini'], true, null],
    [['-dq', '-u', 'www', 'a.ini'], true, 'www'],
    [['--user=www', 'a.ini'], false, 'www'],
    [['-u', '007', 'a.ini'], false, '007'],
  ])('%j runs it in the background, as another user', (argv, daemon, user) => {
    expect(parseArguments(argv)).toMatchObject({ kind: 'run', configPath: 'a.ini', daemon, user });
  });

  it('-R takes the place of the running one', () => {
    expect(parseArguments(['-Rd', 'a.ini'])).toMatchObject({ kind: 'run', reboot: true, daemon: true });
  });

  it.each([
    [['check', '-d', 'a.ini'], 'daemon'],
    [['-R', 'check', 'a.ini'], 'reboot'],
    [['check', 'a.ini', '-u', 'www'], 'user'],
  ])('%j is refused', (argv, option) => {
    const message = `option --${option} does not belong to check`;
    expect(parseArguments(argv)).toEqual({ kind: 'error', message });
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

  it('ping asks the one that runs', () => {
    expect(parseArguments(['ping', 'a.ini'])).toEqual({ kind: 'ping', configPath: 'a.ini' });
    expect(parseArguments(['ping'])).toMatchObject({ kind: 'run', configPath: 'ping' });
  });

  it.each([
    [['ping', 'a.ini', 'b.ini'], 'more than one config file given'],
    [['ping', '-d', 'a.ini'], 'option --daemon does not belong to ping'],
    [['ping', '--json', 'a.ini'], 'option --json belongs to check'],
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
  ])('%j is refused', (argv, message) => {
    expect(parseArguments(argv)).toEqual({ kind: 'error', message });
  });
});
