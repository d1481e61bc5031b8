/** The files behind the TLS settings: read whole, and checked so that an error can name the setting. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { getCACertificates } from 'node:tls';
import { TlsSettingError, tlsErrorText } from './setting-error.ts';

/** A certificate and the key that belongs to it, as PEM. */
export interface Identity {
  readonly certificates: string;
  readonly key: string;
  /** The first certificate: the one that stands for us. */
  readonly own: X509Certificate;
}

/** Settings that name a key and its certificate. */
export interface IdentityFiles {
  readonly keySetting: string;
  readonly keyFile: string;
  readonly certSetting: string;
  readonly certFile: string;
}

const PEM_CERTIFICATE =
  /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^-]*-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g;

/** Files that TLS settings name, by their paths: a character for each byte. Private keys are among them. */
export type TlsTexts = ReadonlyMap<string, string>;

/**
 * Reads the files of the settings. What is read ahead, as root, is remembered: who is somebody else by then may not read it
 * again.
 */
export class TlsFiles {
  readonly #texts = new Map<string, string>();
  /** What has been read of them since {@link keep}. */
  readonly #newer = new Map<string, string>();
  /** Those that could not be read again. */
  readonly #unread = new Set<string>();
  readonly #warnings = new Set<string>();
  /** Whether what is read now is remembered. */
  isAhead = false;
  /** In place of files: what another thread has read. */
  given: TlsTexts | null = null;
  /** What this attempt goes by, whatever names the file. */
  #taken = new Map<string, string>();

  /** Its text, a character for each byte. Errors: TlsSettingError. */
  read(setting: string, file: string): string {
    const text =
      this.#taken.get(file) ?? (this.given === null ? this.#read(setting, file) : this.given.get(file));
    if (text === undefined) throw new TlsSettingError(setting, `a file that has been read: ${file}`);
    this.#taken.set(file, text);
    return text;
  }

  /**
   * What to try where `text` of `file`, as {@link read} has it, does not fit `other`: what it was before, if `other` could
   * not be read again.
   */
  beside(file: string, text: string, other: string): string {
    const before = this.#unread.has(other) ? this.#texts.get(file) : undefined;
    if (before === undefined) return text;
    this.#newer.delete(file);
    this.#taken.set(file, before);
    return before;
  }

  /** What has been read is in force: it is remembered in place of what was. */
  keep(): void {
    for (const [file, text] of this.#newer) this.#texts.set(file, text);
  }

  /** What has been read since the last time. */
  takeTexts(): TlsTexts {
    const texts = this.#taken;
    this.#taken = new Map();
    return texts;
  }

  #read(setting: string, file: string): string {
    try {
      const text = readFileSync(file, 'latin1');
      if (this.isAhead) this.#texts.set(file, text);
      else if (this.#texts.has(file)) this.#newer.set(file, text);
      return text;
    } catch (cause) {
      const why = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unreadable';
      const known = why === 'EACCES' ? this.#texts.get(file) : undefined;
      if (known === undefined)
        throw new TlsSettingError(setting, `a readable file: ${file} (${why})`, { cause });
      this.#unread.add(file);
      this.#warnings.add(
        `${setting} ${file} cannot be read as this user: what was read before stays in force`,
      );
      return known;
    }
  }

  /** Another attempt begins: what the last one has come to is forgotten, but for what is remembered. */
  begin(): void {
    this.#newer.clear();
    this.#unread.clear();
    this.takeWarnings();
    this.takeTexts();
  }

  /** Lines for the log about what could not be read since the last time. */
  takeWarnings(): string[] {
    const warnings = [...this.#warnings];
    this.#warnings.clear();
    return warnings;
  }
}

/** Reads a key and its certificate (or chain). Errors: TlsSettingError. */
export function readIdentity(files: IdentityFiles, texts: TlsFiles): Identity {
  const { keySetting, keyFile, certSetting, certFile } = files;
  if (certFile === '') throw new TlsSettingError(certSetting, 'a file with a certificate');
  if (keyFile === '') throw new TlsSettingError(keySetting, 'a file with a private key');
  const identityOf = (certificates: string, key: string): Identity | null => {
    const [own] = readCertificates(certSetting, certFile, certificates);
    const fits = own?.checkPrivateKey(parseKey(keySetting, keyFile, key)) === true;
    return fits ? { certificates, key, own } : null;
  };
  const certificates = texts.read(certSetting, certFile);
  readCertificates(certSetting, certFile, certificates);
  const key = texts.read(keySetting, keyFile);
  const identity =
    identityOf(certificates, key) ??
    identityOf(texts.beside(certFile, certificates, keyFile), texts.beside(keyFile, key, certFile));
  if (identity === null) {
    throw new TlsSettingError(
      keySetting,
      `the key of the certificate in ${certSetting}: ${keyFile} is another one`,
    );
  }
  return identity;
}

/** All certificates of a PEM file, in order; at least one. Errors: TlsSettingError. */
export function readCertificateFile(setting: string, file: string): X509Certificate[] {
  return readCertificates(setting, file, new TlsFiles().read(setting, file));
}

/** Certificates that others are signed by, as PEM: of a file, or those of the system. Errors: TlsSettingError. */
export function readAuthorities(setting: string, file: string, texts: TlsFiles): string[] {
  if (file !== '') {
    const text = texts.read(setting, file);
    readCertificates(setting, file, text);
    return [text];
  }
  const system = getCACertificates('system');
  if (system.length === 0)
    throw new TlsSettingError(setting, 'a file with certificates: the system has none');
  return system;
}

/** A line for the log where others on this machine can read the key; null where they cannot, or who knows. */
export function openKeyWarning(setting: string, file: string): string | null {
  if (file === '') return null;
  try {
    const { mode } = statSync(file);
    if ((mode & 0o007) === 0) return null;
    return `${setting} ${file} can be read or written by others (mode ${(mode & 0o777).toString(8).padStart(4, '0')})`;
  } catch {
    return null;
  }
}

function readCertificates(setting: string, file: string, text: string): X509Certificate[] {
  const found = text.match(PEM_CERTIFICATE) ?? [];
  if (found.length === 0) throw new TlsSettingError(setting, `certificates in PEM form: ${file} has none`);
  return found.map((pem) => {
    try {
      return new X509Certificate(pem.replaceAll(/(BEGIN|END) (TRUSTED|X509) /g, '$1 '));
    } catch (cause) {
      const why = tlsErrorText(cause as Error);
      throw new TlsSettingError(setting, `certificates in PEM form: ${file} (${why})`, { cause });
    }
  });
}

function parseKey(setting: string, file: string, text: string): KeyObject {
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(text)) {
    throw new TlsSettingError(
      setting,
      `a private key without a passphrase: nobody is there to type that of ${file}`,
    );
  }
  try {
    return createPrivateKey({ key: text, format: 'pem' });
  } catch (cause) {
    const why = tlsErrorText(cause as Error);
    throw new TlsSettingError(setting, `a private key in PEM form: ${file} (${why})`, { cause });
  }
}
