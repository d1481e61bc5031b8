import { type Fault, fault } from './fault.ts';

const DEDICATED = 'src/pool/dedicated.ts';
const SERVER = 'src/server/connection.ts';
const SWEEP = 'src/pool/sweep.ts';
const SESSION = 'src/client/replication-session.ts';

/** What sets replication connections apart from pooled ones. */
export const replicationFaults: readonly Fault[] = [
  fault(
    'the server connection of a replication client goes back to the pool',
    {
      file: SERVER,
      find: 'if (this.dedicatedTo !== null || this.#own.isInTheWay) return false;',
      replace: 'if (this.#own.isInTheWay) return false;',
    },
    ['test/integration/replication.test.ts', 'test/integration/replication-life.test.ts'],
  ),
  fault(
    'a replication login that fails fails the pool',
    {
      file: 'src/pool/pool.ts',
      find: 'if (server.dedicatedTo !== null) return this.dedicated.failed(server, server.dedicatedTo, failure);',
      replace: '',
    },
    ['test/pool/dedicated.test.ts', 'test/integration/replication.test.ts'],
  ),
  fault(
    'a replication client waits for ever where all servers are busy',
    {
      file: DEDICATED,
      find: 'return this.#launcher.isFull;',
      replace: 'return false;',
    },
    ['test/pool/dedicated.test.ts', 'test/integration/replication-life.test.ts'],
  ),
  fault(
    'all servers that rest make room for one replication client',
    { file: DEDICATED, find: 'if (servers.isClosingSoon(nowMs)) return;', replace: '' },
    ['test/pool/dedicated.test.ts'],
  ),
  fault(
    'the login of a replication client that has left is waited for',
    { file: DEDICATED, find: 'this.#host.service();\n    }\n  }', replace: '}\n  }' },
    ['test/pool/dedicated.test.ts', 'test/pool/pool-random.test.ts'],
  ),
  fault(
    'query_timeout ends a stream',
    { file: SWEEP, find: '|| (server.dedicatedTo !== null && server.isStreaming)', replace: '' },
    ['test/pool/dedicated.test.ts', 'test/integration/replication-life.test.ts'],
  ),
  fault(
    'RECONNECT leaves replication links as they are',
    { file: 'src/pool/pool.ts', find: 'this.dedicated.cut();', replace: '' },
    ['test/pool/dedicated.test.ts', 'test/integration/replication-life.test.ts'],
  ),
  fault(
    'PAUSE is answered while a replication client is still linked',
    {
      file: 'src/daemon/control.ts',
      find: 'return [active, dedicated, tested, being_canceled, closing]',
      replace: 'return [active, tested, being_canceled, closing]',
    },
    ['test/integration/replication-life.test.ts'],
    {
      file: 'src/daemon/control.ts',
      find: 'const { active, dedicated, tested, being_canceled, closing } = pool.servers;',
      replace: 'const { active, tested, being_canceled, closing } = pool.servers;',
    },
  ),
  fault(
    'connect_query is run on a physical connection',
    {
      file: 'src/server/target.ts',
      find: "connectQuery: replication === 'physical' ? null : target.connectQuery,",
      replace: '',
    },
    ['test/server/target.test.ts', 'test/integration/replication.test.ts'],
  ),
  fault(
    'a physical connection is asked for parameters that it does not report',
    {
      file: 'src/server/opening.ts',
      find: 'if ((silent.length === 0 && !hasQuery) || host.dedicatedTo !== null)',
      replace: 'if (silent.length === 0 && !hasQuery)',
    },
    ['test/integration/replication.test.ts'],
  ),
  fault(
    'a physical connection is set to the parameters of its client',
    { file: SESSION, find: 'this.parameters[i] = value;', replace: '' },
    ['test/integration/replication.test.ts'],
  ),
  fault(
    'the requests of a replication client are read for prepared statements',
    {
      file: SESSION,
      find: 'return null;\n  }\n\n  override start',
      replace: 'return super.filter;\n  }\n\n  override start',
    },
    ['test/integration/replication.test.ts'],
  ),
  fault(
    'a standby hears of a crash when its primary shuts down',
    {
      file: SESSION,
      find: 'if (this.#isStreamOver) this.connection.close(error.message);\n    else super',
      replace: 'super',
    },
    ['test/integration/copy-both.test.ts', 'test/integration/replication-life.test.ts'],
  ),
];
