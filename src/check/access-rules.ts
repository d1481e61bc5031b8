import type { Config } from '../config/config.ts';
import type { Findings } from './finding.ts';
import { type KnownUsers, someOf } from './known-users.ts';
import { checkLdap } from './ldap-rules.ts';
import { isPublic } from './networks.ts';

/** Who gets in, and from where, by `auth_type`; `hba` has rules of its own. */
export function checkAccess(findings: Findings, config: Config, users: KnownUsers): void {
  const { settings, login } = config;
  const open = settings.listen_addr.filter(isPublic);
  const from = `for everybody who reaches ${open.join(', ')}`;
  const hasTls = !['disable', 'allow', 'prefer'].includes(settings.client_tls_sslmode);
  const isVerifying = settings.client_tls_sslmode.startsWith('verify');
  switch (settings.auth_type) {
    case 'trust':
    case 'any': {
      if (open.length === 0) break;
      const what = settings.auth_type === 'trust' ? 'no password' : 'neither name nor password';
      const text = `${settings.auth_type} asks for ${what}, ${from}`;
      if (isVerifying) findings.add('warning', 'trust', 'auth_type', `${text} and has any valid certificate`);
      else findings.add('error', 'trust', 'auth_type', text);
      break;
    }
    case 'plain':
    case 'ldap':
      if (open.length > 0 && !hasTls) {
        const text = `${settings.auth_type} sends passwords in clear text, ${from}`;
        findings.add('warning', 'cleartext', 'auth_type', text);
      }
      break;
    case 'md5':
      if (open.length > 0 && !hasTls && users.hasMd5Exchanges) {
        const text = 'an MD5 exchange that is overheard can be used to log in; scram-sha-256 cannot';
        findings.add('note', 'md5', 'auth_type', text);
      }
      break;
    case 'scram-sha-256': {
      const refused = users.withMd5;
      if (refused.length === 0) break;
      const text = `scram-sha-256 cannot go by MD5 secrets, so these users cannot log in: ${someOf(refused)}`;
      findings.add('warning', 'secret-kind', 'auth_type', text);
      break;
    }
  }
  if (login.ldap !== null) checkLdap(findings, login.ldap, 'auth_ldap_options');
  checkAdministrators(findings, config, users);
}

function checkAdministrators(findings: Findings, config: Config, users: KnownUsers): void {
  for (const name of ['admin_users', 'stats_users'] as const) {
    for (const user of config.settings[name]) {
      if (users.has(user)) continue;
      findings.add('warning', 'unknown-user', name, `${user} is not in auth_file and cannot log in`);
    }
  }
}
