import { BackendType } from './codes.ts';

/** ParseComplete. Shared: don't write to it. */
export const parseComplete: Buffer = Buffer.from([BackendType.ParseComplete, 0, 0, 0, 4]);
/** CloseComplete. Shared: don't write to it. */
export const closeComplete: Buffer = Buffer.from([BackendType.CloseComplete, 0, 0, 0, 4]);
