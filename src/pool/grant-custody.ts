import type { Grant } from './budget.ts';
import type { BudgetView } from './budget-view.ts';
import { NONE } from './shared-counts.ts';

/** How to get at the system. None of it is called under the lock. */
interface DescriptorCalls {
  /** Another descriptor for what `fd` stands for; null when that fails. */
  duplicate(fd: number): number | null;
  closeDescriptor(fd: number): void;
}

/** Copies of the descriptors of one owner's server connections, in shared memory: what is left of them when it dies. */
export class GrantCustody {
  readonly #view: BudgetView;
  readonly #me: number;
  readonly #calls: DescriptorCalls;

  constructor(view: BudgetView, owner: number, calls: DescriptorCalls) {
    this.#view = view;
    this.#me = owner;
    this.#calls = calls;
  }

  /**
   * Takes a duplicate of a server connection's descriptor into custody, in place of what is there: before a byte is sent.
   * A thread that dies on the way leaves at most one descriptor open that nobody knows of, of a connection that has
   * not begun its login: PostgreSQL closes it after `authentication_timeout`. False: there is none to be had, or the grant
   * is not this owner's.
   */
  take(grant: Grant, fd: number): boolean {
    const { section, records, custody } = this.#view;
    const copy = this.#calls.duplicate(fd);
    if (copy === null) return false;
    const before = section.run(() => {
      const record = records.find(grant.id, this.#me);
      return record === NONE ? copy : custody.put(record, copy);
    });
    if (before !== NONE) this.#calls.closeDescriptor(before);
    return before !== copy;
  }

  /** What a CancelRequest for the connection takes, or nothing: at the end of its login. */
  setBackendKey(grant: Grant, backendKey: Uint8Array, tlsHost: string | null): void {
    const record = this.#view.records.find(grant.id, this.#me);
    if (record !== NONE) this.#view.custody.setKey(record, backendKey, tlsHost);
  }

  /**
   * The connection is gone, the grant is kept, for another attempt: the duplicate is closed. Nothing happens while it is
   * on its way here: what is gone is then what this owner had of it before.
   */
  end(grant: Grant): void {
    const { section, records, custody } = this.#view;
    const fd = section.run(() => {
      const record = records.find(grant.id, this.#me);
      return record === NONE || records.giverOf(record) !== NONE ? NONE : custody.take(record);
    });
    if (fd !== NONE) this.#calls.closeDescriptor(fd);
  }

  /** One more descriptor of a connection in custody, the caller's to close; null when there is none to be had. */
  duplicateOf({ id }: Grant): number | null {
    const { records, custody } = this.#view;
    const record = records.find(id, this.#me);
    const kept = record === NONE ? null : custody.read(record);
    return kept === null ? null : this.#calls.duplicate(kept.fd);
  }
}
