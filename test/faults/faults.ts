import { configAndProcessFaults } from './config-and-process.ts';
import type { Fault } from './fault.ts';
import { hostFaults } from './hosts.ts';
import { loginFaults } from './login.ts';
import { oracleFaults } from './oracle.ts';
import { peerFaults } from './peers.ts';
import { poolFaults } from './pool.ts';
import { preparedFaults } from './prepared.ts';
import { protocolFaults } from './protocol.ts';
import { relayFaults } from './relay.ts';
import { replicationFaults } from './replication.ts';
import { toldRowsFaults } from './told-rows.ts';
import { vanishFaults } from './vanish.ts';
import { wireFaults } from './wire.ts';

/** Every fault that the tests are known to notice. */
export const faults: readonly Fault[] = [
  ...poolFaults,
  ...relayFaults,
  ...preparedFaults,
  ...toldRowsFaults,
  ...replicationFaults,
  ...vanishFaults,
  ...wireFaults,
  ...loginFaults,
  ...protocolFaults,
  ...configAndProcessFaults,
  ...oracleFaults,
  ...peerFaults,
  ...hostFaults,
];
