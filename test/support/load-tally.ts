/** An error that the contract has in a certain situation. */
export interface Contracted {
  readonly sqlstate: string;
  readonly text: RegExp;
}

/** What pgbench says beside the error itself, or as a consequence of it. */
const BESIDE: readonly RegExp[] = [
  /^$/,
  /^pgbench \(/,
  /^WARNING: {2}/,
  /^\s+This probably means the server terminated abnormally/,
  /^\s+before or while processing the request/,
  /^\s+Is the server running on that host/,
  /^pgbench: error: (Run was aborted|could not create connection for|client \d+ aborted while establishing)/,
  /^pgbench: error: client \d+ aborted in command \d+ \(/,
  // OpenSSL has been taken down by a thread that ends the program, while another one connects.
  /^could not find digest for NID /,
];

/** Fields of the error that stands above. */
const FIELDS = /^(DETAIL|HINT|CONTEXT): {2}/;
/** The error that the server has told, whatever libpq and pgbench have put in front of it. */
const SERVER_ERROR = /(?:FATAL|ERROR): {2}(.*)$/;
/** What they say in place of one, and what node-postgres says. */
const OTHER_ERRORS: readonly RegExp[] = [
  /^error: (.*)$/,
  /^pgbench: error: client \d+ script \d+ aborted in command \d+ query \d+: (.*)$/,
  /^pgbench: error: connection to server at "[^"]*"(?: \([^)]*\))?, port \d+ failed: (.*)$/,
];
/** How that is said without TLS, and with it. */
const CLOSED = /^(server closed the connection|SSL connection has been closed) unexpectedly$/;

/** The errors in what a load complains about, each by its text. */
export function errorsOf(complaints: string): string[] {
  const errors: string[] = [];
  let isTold = false;
  for (const line of complaints.replace(/^ended with \d+: ?/, '').split('\n')) {
    if (FIELDS.test(line)) continue;
    const told = SERVER_ERROR.exec(line)?.[1];
    const text = told ?? OTHER_ERRORS.map((pattern) => pattern.exec(line)?.[1]).find(Boolean) ?? line;
    // The end of the connection is none of its own behind an error of the server.
    if (!(isTold && CLOSED.test(text)) && !BESIDE.some((pattern) => pattern.test(text))) errors.push(text);
    isTold = told !== undefined;
  }
  return errors.length === 0 && complaints !== '' ? [complaints] : errors;
}

/** How many clients of pgbench have given up: of each one transaction may have been committed unseen. */
export function abortsOf(complaints: string): number {
  return new Set([...complaints.matchAll(/ client (\d+) (?:script \d+ )?aborted /g)].map(([, id]) => id))
    .size;
}

/** What went on while one kind of operation was carried out under load. */
export class Tally {
  readonly phase: string;
  readonly contract: readonly Contracted[];
  transactions = 0;
  connections = 0;
  cancels = 0;
  /** Transactions of the ledger that were answered, and those of which nobody knows. */
  entries = 0;
  unknown = 0;
  /** By SQLSTATE and text, those that the contract has here. */
  readonly contracted = new Map<string, number>();
  /** The others. */
  readonly faults = new Map<string, number>();

  constructor(phase: string, contract: readonly Contracted[]) {
    this.phase = phase;
    this.contract = contract;
  }

  /** An error that a client was told. The SQLSTATE is null where the program doesn't say it. */
  error(sqlstate: string | null, text: string): void {
    const known = this.contract.find(
      (each) => each.text.test(text) && (sqlstate === null || sqlstate === each.sqlstate),
    );
    const kind = `${known?.sqlstate ?? sqlstate ?? '?????'} ${text.replace(/\d{2,}/g, 'N')}`;
    const errors = known === undefined ? this.faults : this.contracted;
    errors.set(kind, (errors.get(kind) ?? 0) + 1);
  }

  /** An error that was thrown to a client of node-postgres, or by it. */
  thrown(error: unknown): void {
    const { code, message } = error as { code?: unknown; message?: unknown };
    this.error(typeof code === 'string' ? code : null, typeof message === 'string' ? message : String(error));
  }

  get errorCount(): number {
    return [...this.contracted.values()].reduce((sum, count) => sum + count, 0);
  }
}

/** All of them, as a table with the errors by kind below each line. */
export function tallyTable(tallies: readonly Tally[]): string {
  const rows = tallies.map((tally) => [
    tally.phase,
    ...[tally.transactions, tally.connections, tally.cancels, tally.errorCount].map(String),
  ]);
  const head = ['phase', 'transactions', 'connections', 'cancels', 'errors'];
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join('  ');
  return [
    line(head),
    ...tallies.flatMap((tally, i) => [
      line(rows[i] ?? []),
      ...[...tally.contracted, ...tally.faults].map(([kind, count]) => `    ${count} x ${kind}`),
    ]),
  ].join('\n');
}
