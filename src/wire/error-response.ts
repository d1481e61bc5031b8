import { BackendType } from './codes.ts';
import type { PgErrorFields } from './pg-error.ts';
import { Writer } from './writer.ts';

/**
 * ErrorResponse: fields S, V, C, M, then D, H and R where given.
 * Source: manual, `protocol-error-fields`; PgBouncer sends S, C and M only.
 */
export function errorResponse(fields: PgErrorFields): Buffer {
  return build(BackendType.ErrorResponse, fields.severity, fields);
}

/** NoticeResponse of severity NOTICE with the same field order. */
export function noticeResponse(fields: Omit<PgErrorFields, 'severity'>): Buffer {
  return build(BackendType.NoticeResponse, 'NOTICE', fields);
}

function build(type: number, severity: string, fields: Omit<PgErrorFields, 'severity'>): Buffer {
  const w = new Writer().begin(type);
  w.byte(0x53).cstring(severity);
  w.byte(0x56).cstring(severity);
  w.byte(0x43).cstring(fields.sqlstate);
  w.byte(0x4d).cstring(fields.message);
  if (fields.detail !== undefined) w.byte(0x44).cstring(fields.detail);
  if (fields.hint !== undefined) w.byte(0x48).cstring(fields.hint);
  if (fields.routine !== undefined) w.byte(0x52).cstring(fields.routine);
  return w.byte(0).end().take();
}
