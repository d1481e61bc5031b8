/** The loads, by the name that `--workloads` takes. All are pgbench's `-S`: one SELECT by primary key. */
export const workloadNames = ['simple', 'extended', 'prepared', 'connect'] as const;

export type WorkloadName = (typeof workloadNames)[number];

/** How one load is driven. */
export interface Workload {
  /** pgbench's `--protocol`. */
  readonly protocol: 'simple' | 'extended' | 'prepared';
  /**
   * A new connection for each transaction (`-C`). Its latency is the whole cycle of a client, from the end of one
   * transaction to the end of the next, because the connection is the cost that a pooler takes away.
   */
  readonly reconnects: boolean;
}

export const workloads: { readonly [Name in WorkloadName]: Workload } = {
  simple: { protocol: 'simple', reconnects: false },
  extended: { protocol: 'extended', reconnects: false },
  prepared: { protocol: 'prepared', reconnects: false },
  connect: { protocol: 'simple', reconnects: true },
};
