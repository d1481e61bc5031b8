import { type Fault, fault } from './fault.ts';

const CHECKS = 'src/client/row-checks.ts';
const SHAPE = 'src/prepared/statement-shape.ts';
const TESTS: Fault['tests'] = ['test/integration/told-rows.test.ts'];
const PEERS: Fault['tests'] = ['test/integration/told-rows-peers.test.ts'];

/** What clients are told of their statements, and what they get then. */
export const toldRowsFaults: readonly Fault[] = [
  fault(
    'a client gets rows that it was not told of, from a server that has not known the statement',
    { file: CHECKS, find: 'if (told === null) return true;', replace: 'if (told !== null) return true;' },
    TESTS,
  ),
  fault(
    'a client that asks for nothing is refused rows that it was told of',
    { file: SHAPE, find: 'one.rows === other?.rows)', replace: 'one.rows !== other?.rows)' },
    TESTS,
  ),
  fault(
    'a client that is told of new rows ahead of them is refused them',
    {
      file: CHECKS,
      find: 'if (isDescribed && (hasParameters',
      replace: 'if (!isDescribed && (hasParameters',
    },
    TESTS,
  ),
  fault(
    'parameters are read as other types than the client was told',
    {
      file: CHECKS,
      find: 'known.shapeOf(statement);\n    const isKnown',
      replace:
        'known.shapeOf(statement);\n    if (isSameRows(told.rows, shape)) return true;\n    const isKnown',
    },
    TESTS,
  ),
  fault(
    'a Describe that has failed counts as told',
    {
      file: SHAPE,
      find: 'if (this.#told.get(name) !== now) return;',
      replace: 'if (this.#told.get(name) === now) return;',
    },
    TESTS,
  ),
  fault(
    'a name given anew goes by what it stood for before',
    {
      file: 'src/prepared/client-statements.ts',
      find: 'this.told.forget(name);',
      replace: "this.told.forget('');",
    },
    TESTS,
  ),
  fault(
    'a client waits for ever for a description that comes in pieces',
    {
      file: 'src/relay/request-tracker.ts',
      find: 'this.describedNote = null;\n    this.#hasAnswered = true;',
      replace: 'this.describedNote = null;',
    },
    PEERS,
  ),
  fault(
    'a client that sends half of its requests keeps a server that it does not use',
    {
      file: 'src/client/intake.ts',
      find: 'if (requests.needBytes > 0) this.messageSent();',
      replace: 'if (requests.needBytes < 0) this.messageSent();',
    },
    TESTS,
  ),
  fault(
    'a server is asked for a statement whose rows it has told',
    {
      file: 'src/prepared/server-statements.ts',
      find: 'return this.#shapes.get(statement) ?? null;',
      replace: 'return this.#shapes.get(statement)?.rows === null ? null : null;',
    },
    PEERS,
  ),
];
