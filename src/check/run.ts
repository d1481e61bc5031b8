import { askLimits } from './ask.ts';
import { checkSetUp } from './check.ts';
import { exitStatus } from './finding.ts';
import { reportJson, reportText } from './report.ts';

/** `pgweir check`: prints the report, gives the exit status. */
export async function runCheck(
  command: {
    readonly configPath: string;
    readonly connects: boolean;
    readonly instances: number;
    readonly isJson: boolean;
  },
  print: (text: string) => void,
): Promise<number> {
  const { configPath, connects, instances, isJson } = command;
  const report = await checkSetUp(configPath, { instances, ask: connects ? askLimits : null });
  print(isJson ? reportJson(report) : reportText(report));
  return exitStatus(report.findings);
}
