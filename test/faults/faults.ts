import { configAndProcessFaults } from './config-and-process.ts';
import type { Fault } from './fault.ts';
import { loginFaults } from './login.ts';
import { poolFaults } from './pool.ts';
import { preparedFaults } from './prepared.ts';
import { relayFaults } from './relay.ts';
import { wireFaults } from './wire.ts';

/** Every fault that the tests are known to notice. */
export const faults: readonly Fault[] = [
  ...poolFaults,
  ...relayFaults,
  ...preparedFaults,
  ...wireFaults,
  ...loginFaults,
  ...configAndProcessFaults,
];
