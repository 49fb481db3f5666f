/** JSON Schema of one parameter. */
export interface Parameter {
  readonly description: string;
  readonly type: 'string' | 'boolean';
}

/** What a client sent: anything. */
export type Arguments = Readonly<Record<string, unknown>>;

/** What the command lines of tools are made with. */
export interface ToolContext {
  /** The daemon's configuration file, as it was typed. */
  readonly configPath: string;
  /** True if the daemon does not expand variables in it. */
  readonly rawConfig: boolean;
}

/** One tool: how it is listed, and the command line that it stands for. */
export interface Tool {
  readonly name: string;
  readonly description: string;
  readonly properties: Readonly<Record<string, Parameter>>;
  readonly required: readonly string[];
  /** True if it writes files. */
  readonly writes: boolean;
  /** Undefined for the tool that is made of several commands. */
  readonly commandLine?: (given: Arguments, context: ToolContext) => readonly string[];
}

const TRUE_WORDS: ReadonlySet<string> = new Set(['1', 't', 'T', 'true', 'TRUE', 'True']);
const FALSE_WORDS: ReadonlySet<string> = new Set(['0', 'f', 'F', 'false', 'FALSE', 'False']);

const config: Parameter = {
  type: 'string',
  description: 'Path to the Litestream config file. Optional.',
};
const configUnlessUrl: Parameter = {
  type: 'string',
  description: 'Path to the Litestream config file. Optional, ignored for replica URLs.',
};

function text(description: string): Parameter {
  return { type: 'string', description };
}

function flag(description: string): Parameter {
  return { type: 'boolean', description };
}

/** A parameter of the wrong type counts as absent. */
export function stringOf(given: Arguments, name: string): string | undefined {
  const value = Object.hasOwn(given, name) ? given[name] : undefined;
  return typeof value === 'string' ? value : undefined;
}

function booleanOf(given: Arguments, name: string): boolean | undefined {
  const value = Object.hasOwn(given, name) ? given[name] : undefined;
  if (typeof value === 'boolean') return value;
  if (typeof value === 'number') return value !== 0;
  if (typeof value !== 'string') return undefined;
  if (TRUE_WORDS.has(value)) return true;
  return FALSE_WORDS.has(value) ? false : undefined;
}

/** The flags that choose the configuration file. */
export function configFlags(given: Arguments, context: ToolContext): string[] {
  const path = stringOf(given, 'config') ?? context.configPath;
  return ['-config', path, ...(context.rawConfig ? ['-no-expand-env'] : [])];
}

/** The same for a command that also takes a replica URL, which it does not want together with a file. */
function configFlagsFor(path: string, given: Arguments, context: ToolContext): string[] {
  const flags = configFlags(given, context);
  return path.includes('://') || flags[1] === '' ? [] : flags;
}

/** An argument that looks like a flag stays an argument. */
export function positional(path: string | undefined): string[] {
  return path === undefined || path === '' ? [] : ['--', path];
}

/** `-name value` for each parameter that was given. */
function valueFlags(given: Arguments, names: readonly string[]): string[] {
  return names.flatMap((name) => {
    const value = stringOf(given, name) ?? '';
    return value === '' ? [] : [`-${name}`, value];
  });
}

/** A boolean never takes the next word, so its value is part of the same one. */
function booleanFlags(given: Arguments, names: readonly string[]): string[] {
  return names.flatMap((name) => {
    const value = booleanOf(given, name);
    return value === undefined ? [] : [`-${name.replaceAll('_', '-')}=${value}`];
  });
}

function restoreLine(given: Arguments, context: ToolContext): string[] {
  const path = stringOf(given, 'path') ?? '';
  return [
    'restore',
    ...valueFlags(given, ['o']),
    ...configFlagsFor(path, given, context),
    ...valueFlags(given, ['txid', 'timestamp', 'parallelism']),
    ...booleanFlags(given, ['if_db_not_exists', 'if_replica_exists']),
    ...positional(path),
  ];
}

/** All tools, by name. Names, types and what is required are the reference's. Spec: interfaces 5.2. */
export const tools: readonly Tool[] = [
  {
    name: 'litestream_databases',
    description:
      'List databases and their replicas as defined in the Litestream config file. The default path is /etc/litestream.yml but is not required.',
    properties: { config },
    required: [],
    writes: false,
    commandLine: (given, context) => ['databases', ...configFlags(given, context)],
  },
  {
    name: 'litestream_info',
    description:
      "Get a comprehensive summary of Litestream's current status including databases, LTX files, and version information.",
    properties: { config },
    required: [],
    writes: false,
  },
  {
    name: 'litestream_ltx',
    description: 'List all LTX files for a database or replica URL.',
    properties: { config: configUnlessUrl, path: text('Database path or replica URL.') },
    required: ['path'],
    writes: false,
    commandLine: (given, context) => {
      const path = stringOf(given, 'path') ?? '';
      return ['ltx', ...configFlagsFor(path, given, context), ...positional(path)];
    },
  },
  {
    name: 'litestream_reset',
    description:
      'Clear local Litestream state for a database. Removes local LTX files, forcing fresh snapshot on next sync. Database file is not modified. Refused while the database is being replicated: stop it first.',
    properties: { config, path: text('Database path to reset.') },
    required: ['path'],
    writes: true,
    commandLine: (given, context) => [
      'reset',
      ...configFlags(given, context),
      ...positional(stringOf(given, 'path')),
    ],
  },
  {
    name: 'litestream_restore',
    description: 'Restore a database from a Litestream replica.',
    properties: {
      config: configUnlessUrl,
      if_db_not_exists: flag('Return 0 if the database already exists. Optional.'),
      if_replica_exists: flag('Return 0 if no backups found. Optional.'),
      o: text('Output path for the restored database. Optional.'),
      parallelism: text('Number of WAL files to download in parallel. Optional.'),
      path: text('Database path or replica URL.'),
      timestamp: text('Restore to a specific point-in-time (RFC3339). Optional.'),
      txid: text('Restore up to a specific transaction ID. Optional.'),
    },
    required: ['path'],
    writes: true,
    commandLine: restoreLine,
  },
  {
    name: 'litestream_status',
    description:
      'Display replication status including database path, status, local transaction ID, and WAL size.',
    properties: { config, path: text('Filter to a specific database path. Optional.') },
    required: [],
    writes: false,
    commandLine: (given, context) => [
      'status',
      ...configFlags(given, context),
      ...positional(stringOf(given, 'path')),
    ],
  },
  {
    name: 'litestream_version',
    description: 'Print the Litestream binary version.',
    properties: {},
    required: [],
    writes: false,
    commandLine: () => ['version'],
  },
];

/** A tool as `tools/list` shows it. */
export interface ListedTool {
  readonly name: string;
  readonly description: string;
  readonly inputSchema: {
    readonly type: 'object';
    readonly properties: Readonly<Record<string, Parameter>>;
    readonly required?: readonly string[];
  };
  readonly annotations: {
    readonly readOnlyHint: boolean;
    readonly destructiveHint: boolean;
    readonly idempotentHint: boolean;
    readonly openWorldHint: boolean;
  };
}

/** The answer to `tools/list`. */
export function listTools(): ListedTool[] {
  return tools.map(({ name, description, properties, required, writes }) => ({
    name,
    description,
    inputSchema: { type: 'object', properties, ...(required.length === 0 ? {} : { required }) },
    annotations: {
      readOnlyHint: !writes,
      destructiveHint: writes,
      idempotentHint: false,
      openWorldHint: true,
    },
  }));
}
