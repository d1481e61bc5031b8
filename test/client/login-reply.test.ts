import { expect, test } from 'vitest';
import { loginReply } from '../../src/client/login-reply.ts';
import { TrackedParameters } from '../../src/relay/tracked-parameters.ts';
import { type Random, withSeed } from '../support/random.ts';

const welcomeData = [
  ['server_version', '18.4'],
  ['DateStyle', 'ISO, MDY'],
  ['TimeZone', 'UTC'],
  ['client_encoding', 'UTF8'],
] as const;

/** What each name of a ParameterStatus in it says, and the bytes of BackendKeyData. */
function toldBy(reply: Buffer): { statuses: string[]; key: string; types: string } {
  const statuses: string[] = [];
  let key = '';
  let types = '';
  for (let pos = 0; pos < reply.length; pos += 1 + reply.readInt32BE(pos + 1)) {
    const type = String.fromCharCode(reply[pos] as number);
    const body = reply.subarray(pos + 5, pos + 1 + reply.readInt32BE(pos + 1));
    types += type;
    if (type === 'S') statuses.push(body.toString('latin1').split('\0').slice(0, 2).join('='));
    if (type === 'K') key = body.toString('hex');
  }
  return { statuses, key, types };
}

test('whoever has logged in before with whatever parameters, each client is told its own, and the server’s where it gave none', async () => {
  await withSeed(async (random: Random) => {
    const tracked = new TrackedParameters([]);
    const at = (name: string) => tracked.indexOf(name);
    for (let round = 0; round < 500; round++) {
      const parameters = tracked.emptyValues();
      const zone = random.pick([null, 'UTC', 'Europe/Rome']);
      const application = random.pick([null, '', 'a', 'b']);
      parameters[at('TimeZone')] = zone;
      parameters[at('application_name')] = application;
      const extras = new Map(random.below(3) === 0 ? [['server_version', 'mine']] : []);
      const key = random.bytes(8);
      const told = toldBy(loginReply(welcomeData, tracked, parameters, extras, key, ''));
      expect(told).toEqual({
        statuses: [
          `server_version=${extras.get('server_version') ?? '18.4'}`,
          'DateStyle=ISO, MDY',
          'client_encoding=UTF8',
          `TimeZone=${zone ?? 'UTC'}`,
          ...(application === null ? [] : [`application_name=${application}`]),
        ],
        key: key.toString('hex'),
        types: application === null ? 'RSSSSKZ' : 'RSSSSSKZ',
      });
      expect(parameters[at('DateStyle')]).toBe('ISO, MDY');
      expect(parameters[at('standard_conforming_strings')]).toBeNull();
    }
  });
});
