import { BlockList, isIP } from 'node:net';
import type { Config } from '../config/config.ts';
import type { Findings } from './finding.ts';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Whether others than programs on this machine can connect there. A name may be anything. */
export function isPublic(address: string): boolean {
  const version = isIP(address);
  if (version === 0) return address !== 'localhost';
  return !loopback.check(address, version === 6 ? 'ipv6' : 'ipv4');
}

/** Who gets in, and from where. */
export function checkAccess(findings: Findings, config: Config): void {
  const { settings } = config;
  const open = settings.listen_addr.filter(isPublic);
  const from = `for everybody who reaches ${open.join(', ')}`;
  const hasTls = !['disable', 'allow', 'prefer'].includes(settings.client_tls_sslmode);
  switch (settings.auth_type) {
    case 'trust':
      if (open.length > 0) findings.add('error', 'trust', 'auth_type', `trust asks for no password, ${from}`);
      break;
    case 'any':
      if (open.length > 0)
        findings.add('error', 'trust', 'auth_type', `any asks for neither name nor password, ${from}`);
      break;
    case 'plain':
      if (open.length > 0 && !hasTls)
        findings.add('warning', 'cleartext', 'auth_type', `plain sends passwords in clear text, ${from}`);
      break;
    case 'md5':
      if (open.length > 0 && !hasTls) {
        const text = 'an MD5 exchange that is overheard can be used to log in; scram-sha-256 cannot';
        findings.add('note', 'md5', 'auth_type', text);
      }
      break;
  }
  checkAdministrators(findings, config);
}

function checkAdministrators(findings: Findings, config: Config): void {
  const { settings, userlist, users } = config;
  for (const name of ['admin_users', 'stats_users'] as const) {
    for (const user of settings[name]) {
      if (
        settings.auth_type === 'any' ||
        userlist.has(user) ||
        users.has(user) ||
        settings.auth_user !== null
      )
        continue;
      findings.add('warning', 'unknown-user', name, `${user} is not in auth_file and cannot log in`);
    }
  }
}
