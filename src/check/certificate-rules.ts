import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import type { Config } from '../config/config.ts';
import { signatureHash } from '../tls/end-point.ts';
import { readCertificateFile } from '../tls/material.ts';
import { isForHost } from '../tls/peer-certificate.ts';
import { TlsSettingError } from '../tls/setting-error.ts';
import type { FindingCode, Findings, Level } from './finding.ts';

const DAY_MS = 86_400_000;
/** Who renews a certificate by hand needs that long. */
const SOON_DAYS = 30;
/** What everybody takes for enough these days. Source: NIST SP 800-131A. */
const LEAST_RSA_BITS = 2048;
/** An authority file may be the system's bundle, of which some have always expired. */
const MOST_TOLD = 5;

/** What is wrong, or will be, with certificates that can be read and whose key fits; the rest is known by then. */
export function checkCertificates(findings: Findings, config: Config, nowMs = Date.now()): void {
  const { settings } = config;
  for (const side of ['client', 'server'] as const) {
    const mode = settings[`${side}_tls_sslmode`];
    if (mode === 'disable') continue;
    const [certSetting, caSetting] = [`${side}_tls_cert_file`, `${side}_tls_ca_file`] as const;
    const isVerifying = mode.startsWith('verify');
    const own = new CertificateFile(findings, certSetting, settings[certSetting], nowMs);
    own.checkIdentity();
    if (side === 'client') own.checkNames(settings.listen_addr);
    // A certificate that a client shows has to be valid in every mode.
    if (isVerifying || side === 'client')
      new CertificateFile(findings, caSetting, settings[caSetting], nowMs).checkAuthorities();
    if (mode === 'verify-ca' && settings[caSetting] === '') {
      const whose = side === 'client' ? 'a client' : 'the server';
      const text = `verify-ca without ${caSetting} takes whoever has a certificate of any public authority for ${whose}`;
      findings.add('warning', 'certificate', `${side}_tls_sslmode`, text);
    }
  }
}

/** The certificates of one setting; none where they cannot be read, which is told elsewhere. */
class CertificateFile {
  readonly #findings: Findings;
  readonly #setting: string;
  readonly #file: string;
  readonly #nowMs: number;
  readonly #certificates: readonly X509Certificate[];

  constructor(findings: Findings, setting: string, file: string, nowMs: number) {
    this.#findings = findings;
    this.#setting = setting;
    this.#file = file;
    this.#nowMs = nowMs;
    this.#certificates = file === '' ? [] : readable(setting, file);
  }

  /** One that stands for us, first, and those that it is signed by. */
  checkIdentity(): void {
    const [own, ...chain] = this.#certificates;
    if (own === undefined) return;
    for (const [index, certificate] of this.#certificates.entries()) {
      this.#checkDates(certificate, index, index === 0 ? 'error' : 'warning');
      this.#checkStrength(certificate, index);
      const next = this.#certificates[index + 1];
      if (next !== undefined && !certificate.checkIssued(next)) {
        const text = `${ordinal(index)} is not signed by the next one, so whoever verifies it finds no chain`;
        this.#add('warning', 'certificate', text);
      }
    }
    if (isSelfSigned(own)) {
      this.#add('note', 'certificate', 'is signed by itself: whoever verifies it needs this very file');
    } else if (chain.length === 0) {
      const text = 'has no certificate but its own: who verifies it has to have the one that it is signed by';
      this.#add('note', 'certificate', text);
    }
  }

  /** Those that others are verified by. */
  checkAuthorities(): void {
    const all = this.#certificates;
    if (all.length === 0) return;
    if (!all.some(isSelfSigned)) {
      const text = 'has no certificate that is signed by itself: without the root nothing can be verified';
      this.#add('error', 'certificate', text);
    }
    const isOver = (certificate: X509Certificate) => certificate.validToDate.getTime() <= this.#nowMs;
    if (all.every(isOver)) this.#add('error', 'certificate', 'has none that has not expired');
    for (const [index, certificate] of all.slice(0, MOST_TOLD).entries()) {
      if (!all.every(isOver)) this.#checkDates(certificate, index, 'warning');
      this.#checkStrength(certificate, index);
    }
  }

  /** By which names clients can verify the host. `listening`: of these they are likely to use one. */
  checkNames(listening: readonly string[]): void {
    const [own] = this.#certificates;
    if (own === undefined) return;
    if (!/(^|, )(DNS|IP Address):/.test(own.subjectAltName ?? '')) {
      const text =
        'names no host (it has no subject alternative name): clients other than libpq do not verify it';
      this.#add('warning', 'certificate-name', text);
    }
    for (const host of listening) {
      if (host === '*' || isIP(host) !== 0 || isForHost(own, host)) continue;
      this.#add('warning', 'certificate-name', `is not for ${host} of listen_addr`);
    }
  }

  #checkDates({ validFromDate, validToDate }: X509Certificate, index: number, level: Level): void {
    const name = ordinal(index);
    const [from, to] = [validFromDate.getTime(), validToDate.getTime()];
    if (to <= this.#nowMs) this.#add(level, 'certificate', `${name} has expired on ${day(validToDate)}`);
    else if (from > this.#nowMs)
      this.#add(level, 'certificate', `${name} is not valid before ${day(validFromDate)}`);
    else if (to - this.#nowMs < SOON_DAYS * DAY_MS) {
      const days = Math.floor((to - this.#nowMs) / DAY_MS);
      this.#add('warning', 'certificate', `${name} expires on ${day(validToDate)}, in ${days} days`);
    }
  }

  #checkStrength(certificate: X509Certificate, index: number): void {
    const name = ordinal(index);
    const bits = certificate.publicKey.asymmetricKeyDetails?.modulusLength ?? LEAST_RSA_BITS;
    if (bits < LEAST_RSA_BITS)
      this.#add('warning', 'weak', `the key of ${name} has ${bits} bits, fewer than ${LEAST_RSA_BITS}`);
    // Nobody goes by what a root says of itself.
    if (isSelfSigned(certificate)) return;
    const hash = signatureHash(certificate.raw);
    if (hash === 'sha1' || hash === 'md5')
      this.#add(
        'warning',
        'weak',
        `${name} is signed with ${hash === 'md5' ? 'MD5' : 'SHA-1'}, which can be forged`,
      );
  }

  #add(level: Level, code: FindingCode, text: string): void {
    this.#findings.add(level, code, this.#setting, `${this.#file} ${text}`);
  }
}

function readable(setting: string, file: string): X509Certificate[] {
  try {
    return readCertificateFile(setting, file);
  } catch (error) {
    if (error instanceof TlsSettingError) return [];
    throw error;
  }
}

function isSelfSigned(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey);
}

function ordinal(index: number): string {
  return index === 0 ? 'its certificate' : `its certificate ${index + 1}`;
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}
