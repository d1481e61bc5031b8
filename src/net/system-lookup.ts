import { ADDRCONFIG, lookup } from 'node:dns';
import type { LookupAll } from './dns-cache.ts';

/**
 * Asks the system (getaddrinfo), as every other program there does: /etc/hosts, nsswitch.conf and search domains count.
 * Addresses of a kind that this machine has none of are left out.
 */
export const systemLookup: LookupAll = (name, done) => {
  lookup(name, { all: true, order: 'verbatim', hints: ADDRCONFIG }, (error, found) => {
    if (error !== null) done(error, []);
    else
      done(
        null,
        found.map(({ address }) => address),
      );
  });
};
