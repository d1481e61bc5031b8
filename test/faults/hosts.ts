import { type Fault, fault } from './fault.ts';

const ROUTE = 'src/server/route.ts';
const HOST_LIST = 'src/server/host-list.ts';
const DNS_CACHE = 'src/net/dns-cache.ts';
const UNIT = 'test/server/route.test.ts';
const LISTS = 'test/integration/host-lists.test.ts';
const NAMES = 'test/net/dns-cache.test.ts';

/** Which of several hosts and addresses a server connection goes to. */
export const hostFaults: readonly Fault[] = [
  fault(
    'a host of a list that is down fails the attempt',
    {
      file: 'src/server/opening.ts',
      find: 'return this.asksAgain(reason) || this.triesNext(reason);',
      replace: 'return this.asksAgain(reason);',
    },
    [LISTS],
  ),
  fault(
    'a host of a list that says nothing fails the attempt',
    {
      file: 'src/pool/sweep.ts',
      find: 'if (server.opening.triesNext(reason)) continue;',
      replace: '',
    },
    ['test/pool/sweep.test.ts', LISTS],
  ),
  fault(
    'a host of a list that is not up yet fails the attempt',
    {
      file: 'src/server/opening.ts',
      find: 'fields?.sqlstate === SqlState.cannotConnectNow && ',
      replace: 'fields === undefined && ',
    },
    [LISTS],
  ),
  fault(
    'a refused login is tried on every host of a list',
    {
      file: 'src/server/opening.ts',
      find: 'if (fields?.sqlstate === SqlState.cannotConnectNow && this.triesNext(message)) return;',
      replace: 'if (this.triesNext(message)) return;',
    },
    [LISTS],
  ),
  fault(
    'a host that is down is tried at each of its turns',
    { file: HOST_LIST, find: 'nowMs - ms >= retryMs', replace: 'nowMs - ms >= 0' },
    [UNIT, LISTS],
  ),
  fault(
    'a host that is back is never tried again while others answer',
    { file: HOST_LIST, find: ' || nowMs - ms >= retryMs', replace: '' },
    [UNIT, LISTS],
  ),
  fault(
    'with disable a host that is back takes over',
    { file: ROUTE, find: 'if (this.#staysWithOne) list.stayWith(this.#current.index);', replace: '' },
    [UNIT, 'test/integration/failures.test.ts'],
  ),
  fault(
    'a name is looked up by each who asks',
    {
      file: DNS_CACHE,
      find: 'if (name.waiting !== null) name.waiting.push(done);',
      replace: 'if (name.waiting !== null) this.#lookup(host, done);',
    },
    [NAMES],
  ),
  fault(
    'any number of look-ups may hold threads',
    { file: DNS_CACHE, find: 'const MAX_LOOKUPS = 2;', replace: 'const MAX_LOOKUPS = 200;' },
    [NAMES],
  ),
  fault(
    'a failed look-up is asked for again by each who comes',
    {
      file: DNS_CACHE,
      find: '(name.error === null ? maxTtlMs : nxdomainTtlMs)',
      replace: '(name.error === null ? maxTtlMs : 0)',
    },
    [NAMES, 'test/integration/dns.test.ts'],
  ),
  fault(
    'servers at an address that a name has lost go on serving',
    { file: 'src/daemon/dns.ts', find: 'return ip !== null && addresses.has(ip);', replace: 'return false;' },
    ['test/integration/dns.test.ts'],
  ),
  fault(
    'a name that loses an address takes the servers of a list with it',
    {
      file: 'src/daemon/dns.ts',
      find: '?.entry.host !== name) continue;',
      replace: '?.entry.hosts.includes(name) !== true) continue;',
    },
    ['test/integration/dns.test.ts'],
  ),
  fault(
    'a cancel request goes to any address of a name',
    { file: 'src/server/target.ts', find: 'host: ip ?? host,', replace: 'host,' },
    ['test/integration/dns.test.ts'],
    {
      file: ROUTE,
      find: 'this.ip === null ? addresses.slice(0, 1) : [this.ip]',
      replace: 'addresses.slice(0, 1)',
    },
  ),
];
