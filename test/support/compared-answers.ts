import { int32, type ReadMessage } from './peer-messages.ts';
import type { WireClient } from './wire-client.ts';

/** What PostgreSQL says before it gives up a connection whose client sent requests in the middle of a COPY. */
const SYNC_LOST = 'terminating connection because protocol synchronization was lost';

/**
 * That there is no transaction to end. Where a server learns what SQL has prepared, an Execute of ours is ahead of the
 * client's: then another line of PostgreSQL's sources says so.
 */
const NO_TRANSACTION = /^N .*C25P01\\u0000Mthere is no transaction in progress\\u0000/;

/** Which line that is. */
const LINE = /\\u0000L\d+(?=\\u0000)/;

/** A message as text that can be compared and read. A notification's sender is another process each time. */
function shown({ type, body }: ReadMessage): string {
  const compared = type === 'A' ? Buffer.concat([int32(0), body.subarray(4)]) : body;
  return `${type} ${JSON.stringify(compared.toString('latin1'))}`;
}

const TAUGHT_IN_VAIN = /^E .*C25P02.*Rexec_parse_message/;

/** In the middle of a COPY it may be a request of ours that ends it, ahead of the client's that needs it. */
const AMID_COPY = /unexpected message type 0x[0-9a-f]+ during COPY/i;

/**
 * Where a server learns a statement, an Execute of ours is ahead of what needs a transaction block, for which PostgreSQL
 * takes a pipeline: then it has nothing to say of a SET LOCAL.
 */
const NO_BLOCK = /^N .*C25P01.*SET LOCAL can only be used in transaction blocks/;

/**
 * `got`, with errors from the Parse by which a server was to learn a statement anew, in a transaction that has failed, taken
 * for those of the requests that they stand for; and with warnings that a teaching ahead has made needless, or has come from
 * another line. For modes in which servers are taught, which session mode is not.
 */
export function reconciled(got: Answers, expected: Answers): Answers {
  const all = withWarnings(got.all, expected.all).map((each, i) => {
    const other = expected.all[i];
    if (other === undefined) return each;
    const ending = AMID_COPY.exec(other)?.[0];
    if (ending !== undefined || other.includes(SYNC_LOST)) {
      const same = each.replace(AMID_COPY, ending ?? '');
      // Ours does not say where in PostgreSQL it comes from.
      return same === withoutPlace(other) ? other : same;
    }
    if (NO_TRANSACTION.test(other) && each.replace(LINE, '') === other.replace(LINE, '')) return other;
    return TAUGHT_IN_VAIN.test(each) && other.startsWith('E ') ? other : each;
  });
  return { ...got, all };
}

/** `got` with the warnings that a teaching ahead of them has made needless. */
function withWarnings(got: readonly string[], expected: readonly string[]): string[] {
  const all = [...got];
  expected.forEach((each, i) => {
    if (NO_BLOCK.test(each) && all[i] !== each) all.splice(i, 0, each);
  });
  return all;
}

function withoutPlace(shownError: string): string {
  return shownError.replaceAll(/\\u0000[WFLR][^\\]*(?=\\u0000)/g, '');
}

/** What came up to the answer to the marker, or to the end. */
export interface Answers {
  readonly all: readonly string[];
  readonly isOver: boolean;
}

/** All answers up to that to the query whose row holds `marker`. */
export async function answersTo(client: WireClient, marker: string): Promise<Answers> {
  const { all, isOver } = await readTo(client, marker);
  return { all: withSortedStatuses(all), isOver };
}

/**
 * Adjacent ParameterStatus in one order: PostgreSQL reports what a DISCARD ALL resets in the order in which it was
 * set, be it by the client or on its behalf when it was linked.
 */
function withSortedStatuses(all: readonly string[]): string[] {
  const sorted: string[] = [];
  let statuses: string[] = [];
  for (const each of all) {
    if (each.startsWith('S ')) {
      statuses.push(each);
      continue;
    }
    sorted.push(...statuses.sort(), each);
    statuses = [];
  }
  return [...sorted, ...statuses.sort()];
}

async function readTo(client: WireClient, marker: string): Promise<Answers> {
  const all: string[] = [];
  for (;;) {
    const next = await client.peer.message().catch((error: Error) => {
      throw new Error(`${error.message}, behind ${all.at(-1) ?? 'nothing'}`, { cause: error });
    });
    all.push(shown(next));
    if (next.type === 'E' && next.body.includes(SYNC_LOST)) return { all, isOver: true };
    if (next.type !== 'D' || !next.body.includes(marker)) continue;
    for (const rest of await client.peer.messagesTo('Z')) all.push(shown(rest));
    return { all, isOver: false };
  }
}
