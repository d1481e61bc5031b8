import { type Fault, fault } from './fault.ts';

const CHECKS = 'src/client/row-checks.ts';
const SHAPE = 'src/prepared/statement-shape.ts';
const TESTS: Fault['tests'] = ['test/integration/told-rows.test.ts'];
const EDGES: Fault['tests'] = ['test/integration/told-rows-edges.test.ts'];
const PEERS: Fault['tests'] = ['test/integration/told-rows-peers.test.ts'];

/** What clients are told of their statements, and what they get then. */
export const toldRowsFaults: readonly Fault[] = [
  fault(
    'a client gets rows that it was not told of, from a server that has not known the statement',
    { file: CHECKS, find: 'if (told === null) return', replace: 'if (told !== null) return' },
    TESTS,
  ),
  fault(
    'a client that asks for nothing is refused rows that it was told of',
    { file: SHAPE, find: '? one.rows === other.rows', replace: '? one.rows !== other.rows' },
    TESTS,
  ),
  fault(
    'a client that is told of new rows ahead of them is refused them',
    {
      file: CHECKS,
      find: 'if (isDescribed === true && (hasParameters',
      replace: 'if (isDescribed === false && (hasParameters',
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
      find: 'now.isTakenBack = true;',
      replace: 'now.isTakenBack = false;',
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
      find: 'if (requests.needBytes > 0) this.waitsForMore();',
      replace: 'if (requests.needBytes < 0) this.waitsForMore();',
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
  fault(
    'a name that was to be given anew and was not has lost what was told of it',
    { file: 'src/prepared/client-statements.ts', find: '        told.undo();\n', replace: '' },
    EDGES,
  ),
  fault(
    'a portal tells of what its statement has become',
    {
      file: CHECKS,
      find: 'const before = portal.shape ?? (',
      replace: 'const before = known.shapeOf(statement) ?? (',
    },
    EDGES,
  ),
  fault(
    'a portal tells of the statement of a Bind that has failed',
    { file: SHAPE, find: 'of.isTakenBack = true;', replace: 'of.isTakenBack = false;' },
    EDGES,
  ),
  fault(
    'a portal tells of the statement of one of several Binds that were skipped',
    { file: SHAPE, find: 'const last = lastOf(of);', replace: 'const last = of.before;' },
    EDGES,
  ),
  fault(
    'a portal that is not known any more tells nothing behind a Bind that has failed',
    { file: SHAPE, find: "if (last !== null || portal === '') this", replace: 'this' },
    EDGES,
  ),
  fault(
    'a transaction that has failed lets through whatever follows its end',
    { file: CHECKS, find: ' && tracker.isQuiet)', replace: ')' },
    EDGES,
  ),
  fault(
    'a Bind of any size is held for what may follow it',
    { file: CHECKS, find: 'const WAIT_LIMIT = 16 * 1024;', replace: 'const WAIT_LIMIT = 16 * 1024 ** 3;' },
    EDGES,
  ),
];
