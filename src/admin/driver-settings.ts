/**
 * Settings of PostgreSQL that drivers ask for on a connection, by their names in lower case. The console answers these
 * fixed values, and their SET changes nothing. The first five are PgBouncer's.
 */
export const driverSettings: ReadonlyMap<string, string> = new Map([
  ['client_encoding', 'UTF-8'],
  ['default_transaction_isolation', 'read committed'],
  ['standard_conforming_strings', 'on'],
  ['datestyle', 'ISO'],
  ['timezone', 'GMT'],
  ['application_name', ''],
  ['bytea_output', 'hex'],
  ['client_min_messages', 'notice'],
  ['default_transaction_read_only', 'off'],
  ['extra_float_digits', '1'],
  ['idle_in_transaction_session_timeout', '0'],
  ['idle_session_timeout', '0'],
  ['integer_datetimes', 'on'],
  ['intervalstyle', 'postgres'],
  ['lock_timeout', '0'],
  ['search_path', '"$user", public'],
  ['server_encoding', 'UTF8'],
  ['server_version', '1.25.2/bouncer'],
  ['server_version_num', '12502'],
  ['statement_timeout', '0'],
  ['transaction_isolation', 'read committed'],
  ['transaction_read_only', 'off'],
]);
