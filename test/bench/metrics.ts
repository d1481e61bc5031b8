/** One figure of a run: how it is called, printed and compared. */
export interface Metric {
  readonly title: string;
  /** From the unit it is kept in to the one it is printed in. */
  readonly divisor: number;
  readonly digits: number;
  readonly better: 'lower' | 'higher';
}

/** All figures. Times are kept in µs, memory and amounts in bytes, shares as such; a name tells the unit it is kept in. */
export const metrics = {
  tps: { title: 'tps', divisor: 1, digits: 0, better: 'higher' },
  p50Us: { title: 'p50 ms', divisor: 1000, digits: 3, better: 'lower' },
  p99Us: { title: 'p99 ms', divisor: 1000, digits: 3, better: 'lower' },
  p999Us: { title: 'p99.9 ms', divisor: 1000, digits: 3, better: 'lower' },
  cpuUsPerTransaction: { title: 'CPU µs/tx', divisor: 1, digits: 1, better: 'lower' },
  residentBytes: { title: 'RSS MiB', divisor: 1024 * 1024, digits: 1, better: 'lower' },
  errors: { title: 'errors', divisor: 1, digits: 0, better: 'lower' },
  bytesPerSecond: { title: 'MB/s', divisor: 1e6, digits: 0, better: 'higher' },
  bytesPerCpuSecond: { title: 'MB/CPU s', divisor: 1e6, digits: 0, better: 'higher' },
  bytesPerClient: { title: 'kB/client', divisor: 1000, digits: 2, better: 'lower' },
  threadSpread: { title: 'threads %', divisor: 0.01, digits: 0, better: 'lower' },
  callsPerTransaction: { title: 'calls/tx', divisor: 1, digits: 2, better: 'lower' },
} as const satisfies Readonly<Record<string, Metric>>;

export type MetricName = keyof typeof metrics;

/**
 * What one run has shown. What is absent does not belong to the load; `null` could not be read: there is no pooler
 * process, or no `/proc`.
 */
export type Sample = { readonly [Name in MetricName]?: number | null };

/** A figure in the unit that its title names. */
export function inUnit(name: MetricName, value: number): string {
  const { divisor, digits } = metrics[name];
  return (value / divisor).toFixed(digits);
}
