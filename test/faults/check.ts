import { type Fault, fault } from './fault.ts';

const HBA: Fault['tests'] = ['test/check/hba.test.ts'];
const CERTIFICATES: Fault['tests'] = ['test/check/certificates.test.ts'];

/** What `pgweir check` says of HBA files and certificates. */
export const checkFaults: readonly Fault[] = [
  fault(
    'check: a network with public addresses in it passes for a private one',
    {
      file: 'src/check/networks.ts',
      find: 'wide.mask.every((byte, i) => (byte & (narrow.mask[i] ?? 0)) === byte)',
      replace: 'wide.mask.some((byte, i) => (byte & (narrow.mask[i] ?? 0)) === byte)',
    },
    HBA,
  ),
  fault(
    'check: a reject behind a rule for the same host is taken for one that never counts',
    {
      file: 'src/check/hba-cover.ts',
      find: 'const canTell = !isAsked(first) ||',
      replace: 'const canTell = true ||',
    },
    HBA,
  ),
  fault(
    'check: a rule is taken to be for connections that there cannot be',
    {
      file: 'src/check/hba-cover.ts',
      find: 'clear: open.clear && (type',
      replace: 'clear: (type',
    },
    HBA,
  ),
  fault(
    'check: the lines behind one that makes no sense are not looked at',
    {
      file: 'src/check/read.ts',
      find: 'if (isFatal || lines.has(error.line)',
      replace: 'if (error.file !== path || isFatal || lines.has(error.line)',
    },
    HBA,
  ),
  fault(
    'check: a file of intermediate certificates passes for one of authorities',
    {
      file: 'src/check/certificate-rules.ts',
      find: 'if (!all.some(isSelfSigned)) {',
      replace: 'if (all.length === 0) {',
    },
    CERTIFICATES,
  ),
  fault(
    'check: a certificate that will have expired in a week is sound',
    { file: 'src/check/certificate-rules.ts', find: 'SOON_DAYS * DAY_MS', replace: 'DAY_MS' },
    CERTIFICATES,
  ),
];
