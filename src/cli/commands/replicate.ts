import {
  commandLineConfig,
  type Config,
  type ConfigWarning,
  urlWarnings,
} from '../../config/index.ts';
import { defaultConfigPath } from '../../lib/default-config-path.ts';
import { type Command, configFlags, defineCommand, type Io, usageError } from '../command.ts';
import { readConfig } from '../config.ts';
import { boolFlag, durationFlag, type FlagValues, type ParsedFlags, stringFlag } from '../flags.ts';
import { replicate } from '../replicate/run.ts';

const flags = {
  ...configFlags,
  exec: stringFlag('COMMAND', 'run this command, and stop when it ends'),
  'log-level': stringFlag('LEVEL', 'trace, debug, info, warn or error (default info)'),
  'lag-alert': durationFlag('warn when a replica is behind for longer (0 = never)', 0),
  'restore-if-db-not-exists': boolFlag('first restore databases that do not exist'),
  once: boolFlag('replicate what there is, then stop'),
  'force-snapshot': boolFlag('with -once: write a snapshot of each database'),
  'enforce-retention': boolFlag('with -once: delete what retention no longer keeps'),
};

const MORE = `Runtime control commands (info, list, register, start, stop, sync, unregister) need the control socket.
It is off unless the configuration file turns it on:

    socket:
      enabled: true
      path: /tmp/litestream.sock`;

/** What is to be replicated, before flags that override the file. */
interface Source {
  readonly config: Config;
  readonly warnings: readonly ConfigWarning[];
  /** The level as the start line shows it. */
  readonly level: string;
}

function fromCommandLine(
  path: string,
  urls: readonly string[],
  values: FlagValues<typeof flags>,
): Source {
  if (values.config !== '') throw usageError('cannot specify a replica URL and the -config flag');
  const flag = urls.find((url) => url.startsWith('-'));
  if (flag !== undefined) {
    throw usageError(`flag "${flag}" must be positioned before DB_PATH and REPLICA_URL arguments`);
  }
  const level = values['log-level'] === '' ? 'INFO' : values['log-level'];
  const warnings = urls.flatMap((url) => urlWarnings({ url }, 'REPLICA_URL'));
  return { config: commandLineConfig(path, urls), warnings, level };
}

async function readSource(
  { values, positionals }: ParsedFlags<typeof flags>,
  io: Io,
): Promise<Source> {
  const [path, ...urls] = positionals;
  if (path === undefined) {
    const { config, warnings } = await readConfig(values, io);
    return { config, warnings, level: values['log-level'] || config.logging.level };
  }
  if (urls.length === 0) throw usageError(`must specify at least one replica URL for ${path}`);
  return fromCommandLine(path, urls, values);
}

/** The flag stands for the key at the top of the file; a database's own key is more special. */
function withLagAlert(config: Config, lagAlertMs: number): Config {
  if (lagAlertMs < 0) throw usageError('lag-alert must be >= 0');
  return lagAlertMs === 0 ? config : { ...config, lagAlertMs };
}

function checkCombinations(values: FlagValues<typeof flags>, exec: string): void {
  const { once } = values;
  if (once && exec !== '') throw usageError('cannot specify -once flag with -exec');
  for (const name of ['force-snapshot', 'enforce-retention'] as const) {
    if (values[name] && !once) throw usageError(`cannot specify -${name} flag without -once`);
  }
}

/** Replicates databases until a signal, the end of a child process, or (`-once`) the end of the work. Spec: cli 5. */
export const command: Command = defineCommand({
  name: 'replicate',
  synopsis: ['replicate [flags]', 'replicate [flags] DB_PATH REPLICA_URL [REPLICA_URL …]'],
  about:
    'Replicates the databases of the configuration file, or one database to the replicas of the\n' +
    'command line, continuously.',
  flags,
  more: MORE,
  async run(parsed, io) {
    const { values } = parsed;
    const source = await readSource(parsed, io);
    const exec = values.exec === '' ? source.config.exec : values.exec;
    checkCombinations(values, exec);
    return replicate(
      {
        ...source,
        config: withLagAlert(source.config, values['lag-alert']),
        configPath: values.config === '' ? defaultConfigPath(io.environment) : values.config,
        rawConfig: values['no-expand-env'],
        exec,
        logLevel: values['log-level'],
        restoreIfMissing: values['restore-if-db-not-exists'],
        once: values.once,
        forceSnapshot: values['force-snapshot'],
        enforceRetention: values['enforce-retention'],
      },
      io,
    );
  },
});
