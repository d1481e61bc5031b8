import { authFaults } from './auth.ts';
import { batchFaults } from './batches.ts';
import { checkFaults } from './check.ts';
import { configAndProcessFaults } from './config-and-process.ts';
import { cveFaults } from './cves.ts';
import { consoleFaults } from './console.ts';
import type { Fault } from './fault.ts';
import { hostFaults } from './hosts.ts';
import { leakFaults } from './leaks.ts';
import { loginFaults } from './login.ts';
import { loginBoardFaults } from './login-board.ts';
import { moveFaults } from './moves.ts';
import { oracleFaults } from './oracle.ts';
import { peerFaults } from './peers.ts';
import { poolFaults } from './pool.ts';
import { preparedFaults } from './prepared.ts';
import { processFaults } from './process.ts';
import { protocolFaults } from './protocol.ts';
import { readingFaults } from './reading.ts';
import { relayFaults } from './relay.ts';
import { replicationFaults } from './replication.ts';
import { socketFaults } from './sockets.ts';
import { sharedBudgetFaults } from './shared-budget.ts';
import { sqlFaults } from './sql.ts';
import { tlsFaults } from './tls.ts';
import { toldRowsFaults } from './told-rows.ts';
import { vanishFaults } from './vanish.ts';
import { wireFaults } from './wire.ts';

/** Every fault that the tests are known to notice. */
export const faults: readonly Fault[] = [
  ...poolFaults,
  ...relayFaults,
  ...preparedFaults,
  ...sqlFaults,
  ...readingFaults,
  ...toldRowsFaults,
  ...replicationFaults,
  ...vanishFaults,
  ...leakFaults,
  ...wireFaults,
  ...loginFaults,
  ...authFaults,
  ...protocolFaults,
  ...tlsFaults,
  ...socketFaults,
  ...batchFaults,
  ...configAndProcessFaults,
  ...processFaults,
  ...checkFaults,
  ...cveFaults,
  ...consoleFaults,
  ...oracleFaults,
  ...peerFaults,
  ...hostFaults,
  ...loginBoardFaults,
  ...moveFaults,
  ...sharedBudgetFaults,
];
