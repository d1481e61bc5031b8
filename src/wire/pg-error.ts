import type { ErrorFields } from './error-fields.ts';

/** SQLSTATEs that pgweir itself sends or acts on, by the manual's condition names (`errcodes-appendix`). */
export const SqlState = {
  successfulCompletion: '00000',
  protocolViolation: '08P01',
  featureNotSupported: '0A000',
  invalidPassword: '28P01',
  invalidAuthorizationSpecification: '28000',
  invalidCatalogName: '3D000',
  numericValueOutOfRange: '22003',
  untranslatableCharacter: '22P05',
  noActiveSqlTransaction: '25P01',
  activeSqlTransaction: '25001',
  inFailedSqlTransaction: '25P02',
  invalidSqlStatementName: '26000',
  invalidCursorName: '34000',
  invalidSavepointSpecification: '3B001',
  syntaxError: '42601',
  duplicatePreparedStatement: '42P05',
  duplicateCursor: '42P03',
  configurationLimitExceeded: '53400',
  objectNotInPrerequisiteState: '55000',
  insufficientPrivilege: '42501',
  undefinedTable: '42P01',
  undefinedFunction: '42883',
  tooManyConnections: '53300',
  queryCanceled: '57014',
  adminShutdown: '57P01',
  cannotConnectNow: '57P03',
  configFileError: 'F0000',
} as const;

export type Severity = 'ERROR' | 'FATAL';

/** What an ErrorResponse or NoticeResponse says; plain data. Source: manual, `protocol-error-fields`. */
export interface PgErrorFields {
  readonly severity: Severity;
  readonly sqlstate: string;
  readonly message: string;
  readonly detail?: string;
  readonly hint?: string;
  /** What says it in PostgreSQL's sources; drivers go by it. */
  readonly routine?: string;
}

/**
 * An error on its way to a client. PgBouncer answers SQLSTATE 08P01 for nearly everything, and so does this
 * by default; severity is FATAL (the connection closes) everywhere but on the console.
 */
export function fatal(message: string, sqlstate: string = SqlState.protocolViolation): PgErrorFields {
  return { severity: 'FATAL', sqlstate, message };
}

/** What a server has said, as an error that ends a client; `message` where it said nothing. */
export function errorOf(fields: ErrorFields, message: string): PgErrorFields {
  const { sqlstate, detail, hint, routine } = fields;
  return {
    ...fatal(fields.message ?? message, sqlstate),
    ...(detail === undefined ? {} : { detail }),
    ...(hint === undefined ? {} : { hint }),
    ...(routine === undefined ? {} : { routine }),
  };
}

/** A peer broke the protocol: close, never resync. `message` is the text of the contract's error list. */
export class ProtocolViolation extends Error {
  override readonly name: string = 'ProtocolViolation';
}

/** The violation comes in the middle of a message that PostgreSQL has begun to read: it says so, and then ends, too. */
export class SynchronizationLost extends ProtocolViolation {
  override readonly name = 'SynchronizationLost';

  /** What the client is told, in order. */
  get errors(): readonly [PgErrorFields, PgErrorFields] {
    return [
      { ...fatal(this.message), severity: 'ERROR' },
      fatal('terminating connection because protocol synchronization was lost'),
    ];
  }
}
