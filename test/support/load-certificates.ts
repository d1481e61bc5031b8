import { type Certificate, makeCertificate } from './certificates.ts';
import { type IdentityFiles, TlsFolder } from './tls.ts';

/** Who shows a certificate: the poolers to clients, PostgreSQL to the poolers, the poolers to PostgreSQL. */
export type Holder = 'pooler' | 'server' | 'own';

/** Certificates of one installation, which are replaced while it runs, and the authorities that everybody trusts. */
export class LoadCertificates implements Disposable {
  readonly #files = new TlsFolder();
  #authorities: Certificate[] = [this.#files.authority];
  #count = 1;
  readonly #held = new Map<Holder, IdentityFiles>();
  /** Holds the trusted authorities, for clients and for poolers. */
  readonly caFile: string;

  constructor() {
    this.caFile = this.#writeTrusted();
    for (const holder of ['pooler', 'server', 'own'] as const) this.renew(holder);
  }

  of(holder: Holder): IdentityFiles {
    const files = this.#held.get(holder);
    if (files === undefined) throw new Error(`${holder} has no certificate`);
    return files;
  }

  /** Another certificate, by the newest authority, in the place of the one before. */
  renew(holder: Holder): IdentityFiles {
    const issuer = this.#authorities.at(-1) as Certificate;
    const options = { issuer, commonName: holder, altNames: ['localhost', '127.0.0.1'] };
    const files = this.#files.keep(holder, makeCertificate(options));
    this.#held.set(holder, files);
    return files;
  }

  /** Everybody trusts another authority, too, which signs from now on. */
  addAuthority(): void {
    // Of two with one name OpenSSL would try only one.
    const commonName = `Authority ${++this.#count}`;
    this.#authorities.push(makeCertificate({ commonName, isCa: true }));
    this.#writeTrusted();
  }

  /** Nobody trusts any authority but the newest. */
  forgetAuthorities(): void {
    this.#authorities = this.#authorities.slice(-1);
    this.#writeTrusted();
  }

  /** The trusted authorities. */
  get caPem(): string {
    return this.#authorities.map(({ certPem }) => certPem).join('');
  }

  #writeTrusted(): string {
    return this.#files.write('trusted.pem', this.caPem);
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
  }
}
