/** RELOAD and SET, for one event loop as for several threads: what they answer, and what they leave as it is. */
import { type ControlReply, controlFailure, controlOk } from '../admin/control.ts';
import type { Logger } from '../base/log.ts';
import type { Config } from '../config/config.ts';
import { ConfigError } from '../config/config-error.ts';
import { setSetting } from '../config/set.ts';

/** Puts configurations in force. They are so in every event loop when what is promised here is kept. */
export interface ConfigHooks {
  /** Reads the configuration file again and puts it in force; throws ConfigError and changes nothing. */
  reload(): Promise<void>;
  /** Puts a configuration in force that SET of `key` has made; what there is to say about it, or null. */
  set(config: Config, key: string): Promise<string | null>;
}

export async function commandReload(hooks: ConfigHooks, log: Logger): Promise<ControlReply> {
  try {
    await hooks.reload();
    return controlOk;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    log.log('ERROR', error.message);
    log.log('WARNING', 'config file loading failed');
    return controlFailure.reloadFailed(error.message);
  }
}

/** `config` is the one that is in force. */
export async function commandSet(
  hooks: ConfigHooks,
  config: Config,
  { key, value }: { readonly key: string; readonly value: string },
): Promise<ControlReply> {
  const result = setSetting(config, key, value);
  if (!result.ok) return controlFailure.setFailed(result.reason);
  return { ok: true, notice: (await hooks.set(result.config, key)) ?? result.notice };
}
