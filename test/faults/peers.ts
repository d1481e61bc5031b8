import { type Fault, fault } from './fault.ts';

/** Cancel requests that go by other poolers. */
export const peerFaults: readonly Fault[] = [
  fault(
    'peers hand a cancel request on without end',
    { file: 'src/daemon/peers.ts', find: 'withHops(key, hops - 1)', replace: 'withHops(key, hops)' },
    ['test/integration/peers.test.ts'],
  ),
  fault(
    'a key that has been handed on finds nobody',
    {
      file: 'src/client/cancel-keys.ts',
      find: 'issued.isMarked ? withHops(key, MAX_HOPS) : key',
      replace: 'key',
    },
    ['test/client/cancel-keys.test.ts', 'test/integration/peers.test.ts'],
  ),
  fault(
    "a peer's id is written the other way round",
    { file: 'src/client/peer-key.ts', find: 'key.writeUInt16LE(', replace: 'key.writeUInt16BE(' },
    ['test/client/cancel-keys.test.ts', 'test/integration/peers.test.ts'],
  ),
  fault(
    "a peer's pool_size bounds nothing",
    {
      file: 'src/pool/peer-pool.ts',
      find: 'return this.poolSize === 0 || this.carrierCount < this.poolSize;',
      replace: 'return true;',
    },
    ['test/pool/peer-pool.test.ts', 'test/integration/peers.test.ts'],
  ),
  fault(
    'a peer that takes a cancel request and stalls keeps its place for ever',
    {
      file: 'src/pool/peer-pool.ts',
      find: '[...this.sent, ...this.waiting]) {',
      replace: '[...this.waiting]) {',
    },
    ['test/pool/peer-pool.test.ts'],
  ),
  fault(
    'a cancel request that comes to one whose place has been taken is lost',
    { file: 'src/daemon/pooler.ts', find: "return cameBy === 'tcp' &&", replace: 'return false &&' },
    ['test/integration/hand-over.test.ts'],
  ),
  fault(
    'a process that ends takes the names of those before it away',
    {
      file: 'src/daemon/predecessors.ts',
      find: 'if (now !== null && isSameFile(now, own)) removeName(path);',
      replace: 'removeName(path);',
    },
    ['test/integration/hand-over.test.ts'],
  ),
  fault(
    'a peer that hangs keeps its connection for ever where cancel_wait_timeout is 0',
    {
      file: 'src/pool/peer-pool.ts',
      find: "job.isCarried && nowMs - job.stepMs > (job.state === 'sent' ? closeMs : connectMs)",
      replace: 'false',
    },
    ['test/pool/peer-pool.test.ts'],
  ),
];
