import { expect, it } from 'vitest';
import type { Resolved } from '../../src/net/dns-cache.ts';
import { systemLookup } from '../../src/net/system-lookup.ts';
import { within } from '../support/wait-for.ts';

function ask(name: string): Promise<Parameters<Resolved>> {
  return within(
    new Promise((resolve) => systemLookup(name, (...args) => resolve(args))),
    `addresses of ${name}`,
  );
}

it('the system knows addresses of localhost', async () => {
  const [error, addresses] = await ask('localhost');
  expect(error).toBeNull();
  expect(addresses.length).toBeGreaterThan(0);
  for (const address of addresses) expect(['127.0.0.1', '::1']).toContain(address);
});

it('a name that cannot be one fails as a look-up', async () => {
  // Empty labels are in no name: nobody has to be asked.
  const [error, addresses] = await ask('a..b');
  expect(error).toMatchObject({ syscall: 'getaddrinfo' });
  expect(addresses).toEqual([]);
});
