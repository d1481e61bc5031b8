/** OIDs of the types that columns of our own results have (catalog `pg_type`). */
export const TypeOid = { bool: 16, bytea: 17, int8: 20, int4: 23, text: 25, numeric: 1700 } as const;
export type TypeOid = (typeof TypeOid)[keyof typeof TypeOid];

/** `typlen` as the catalog has it; -1 stands for variable length. */
export const typeLength: Readonly<Record<TypeOid, number>> = {
  16: 1,
  17: -1,
  20: 8,
  23: 4,
  25: -1,
  1700: -1,
};
