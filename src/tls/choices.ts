/**
 * What the settings of a side choose from what OpenSSL has: versions, ciphers, curves. Source: PgBouncer's settings
 * `*_tls_protocols`, `*_tls_ciphers`, `*_tls13_ciphers`, `*_tls_ecdhcurve`.
 */
import type { SecureContextOptions, SecureVersion } from 'node:tls';
import { TlsSettingError } from './setting-error.ts';

/** From the oldest on. */
const VERSIONS = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'] as const satisfies readonly SecureVersion[];

/** Bits of {@link VERSIONS} by the keywords of the setting. */
const KEYWORDS: Readonly<Record<string, number>> = {
  all: 0b1111,
  tlsv1: 0b1111,
  'tlsv1.0': 0b0001,
  'tlsv1.1': 0b0010,
  'tlsv1.2': 0b0100,
  'tlsv1.3': 0b1000,
  secure: 0b1100,
  default: 0b1100,
};

const ENOUGH = 'secure, all, or a list of tlsv1.0, tlsv1.1, tlsv1.2 and tlsv1.3';

/**
 * The oldest and the newest version of a list over `,` or `:`; `!` in front takes one out. What lies between them is
 * in, listed or not.
 * Errors: TlsSettingError.
 */
export function versionRange(
  setting: string,
  text: string,
): { readonly minVersion: SecureVersion; readonly maxVersion: SecureVersion } {
  let chosen = 0;
  for (const item of text.split(/[,:]/)) {
    const word = item.trim().toLowerCase();
    const isTakenOut = word.startsWith('!');
    const keyword = isTakenOut ? word.slice(1).trim() : word;
    const bits = Object.hasOwn(KEYWORDS, keyword) ? KEYWORDS[keyword] : undefined;
    if (bits === undefined) throw new TlsSettingError(setting, ENOUGH);
    // A list that begins with what is not wanted is all the rest.
    if (isTakenOut) chosen = (chosen === 0 ? 0b1111 : chosen) & ~bits;
    else chosen |= bits;
  }
  const versions = VERSIONS.filter((_version, i) => (chosen & (1 << i)) !== 0);
  const [minVersion] = versions;
  const maxVersion = versions.at(-1);
  if (minVersion === undefined || maxVersion === undefined) throw new TlsSettingError(setting, ENOUGH);
  return { minVersion, maxVersion };
}

/**
 * Both settings as Node takes them: the suites of TLS 1.3 in front. Empty ones choose what OpenSSL does by itself.
 * Errors: TlsSettingError, for suites in the wrong setting; what names OpenSSL knows it says itself.
 */
export function cipherList(side: 'client' | 'server', ciphers: string, tls13Ciphers: string | null): string {
  const suites = (tls13Ciphers ?? '').split(/[:, ]+/).filter((name) => name !== '');
  if (!suites.every((name) => name.startsWith('TLS_'))) {
    throw new TlsSettingError(
      `${side}_tls13_ciphers`,
      'cipher suites of TLS 1.3, such as TLS_AES_256_GCM_SHA384',
    );
  }
  const isDefault = ['', 'default', 'secure', 'fast', 'normal'].includes(ciphers.toLowerCase());
  // As in OpenSSL's own lists, a suite of TLS 1.3 counts for nothing here; Node would switch it on.
  const older = (isDefault ? 'DEFAULT' : ciphers)
    .split(/[:, ]+/)
    .filter((name) => name !== '' && !name.startsWith('TLS_'));
  if (older.length === 0)
    throw new TlsSettingError(`${side}_tls_ciphers`, "OpenSSL's names of ciphers up to TLS 1.2");
  return [...suites, ...older].join(':');
}

/** Node's options for `client_tls_ecdhcurve`; nothing for `auto` and `none`, by which OpenSSL chooses. */
export function curveChoice(text: string): Pick<SecureContextOptions, 'ecdhCurve'> {
  return ['', 'auto', 'none'].includes(text.toLowerCase()) ? {} : { ecdhCurve: text };
}

/** Node's options for `client_tls_dheparams`: `auto` or `none`. Errors: TlsSettingError. */
export function dheChoice(text: string): Pick<SecureContextOptions, 'dhparam'> {
  switch (text.toLowerCase()) {
    case '':
    case 'auto':
      return { dhparam: 'auto' };
    case 'none':
      return {};
    default:
      throw new TlsSettingError('client_tls_dheparams', 'auto or none');
  }
}
