/** What the console reports first; psql and drivers read the encoding and the version from it. */
const WELCOME: readonly (readonly [string, string])[] = [
  ['server_version', '1.25.2/bouncer'],
  ['client_encoding', 'UTF8'],
  ['server_encoding', 'UTF8'],
  ['DateStyle', 'ISO'],
  ['TimeZone', 'GMT'],
  ['standard_conforming_strings', 'on'],
  ['is_superuser', 'on'],
];

/**
 * The ParameterStatus list of a login to the console: names and values in the order to send. `tracked` are the
 * tracked parameters that the client's StartupMessage set; they follow and, where they name one of ours, win.
 */
export function consoleWelcome(
  tracked: readonly (readonly [string, string])[],
): readonly (readonly [string, string])[] {
  return [...WELCOME, ...tracked];
}
