import { BackendType } from './codes.ts';

/** ParseComplete. Shared: don't write to it. */
export const parseComplete: Buffer = Buffer.from([BackendType.ParseComplete, 0, 0, 0, 4]);
/** CloseComplete. Shared: don't write to it. */
export const closeComplete: Buffer = Buffer.from([BackendType.CloseComplete, 0, 0, 0, 4]);
/** BindComplete. Shared: don't write to it. */
export const bindComplete: Buffer = Buffer.from([BackendType.BindComplete, 0, 0, 0, 4]);
/** NoData: what was described has no rows. Shared: don't write to it. */
export const noData: Buffer = Buffer.from([BackendType.NoData, 0, 0, 0, 4]);
/** PortalSuspended: Execute has given as many rows as it was asked for. Shared: don't write to it. */
export const portalSuspended: Buffer = Buffer.from([BackendType.PortalSuspended, 0, 0, 0, 4]);
