import type { Command, CommandRow } from './command.ts';

/** Completion knows all commands, this table therefore it, and not the other way round. */
async function loadCompletion(): Promise<{ readonly command: Command }> {
  const { completionCommand } = await import('./commands/completion.ts');
  return { command: completionCommand(commandTable) };
}

/** All commands, alphabetically. Spec: cli 2. */
export const commandTable: readonly CommandRow[] = [
  {
    name: 'completion',
    summary: 'print a completion script for a shell',
    load: loadCompletion,
  },
  {
    name: 'databases',
    summary: 'list the databases of the configuration file',
    load: () => import('./commands/databases.ts'),
  },
  {
    name: 'doctor',
    summary: 'look for what keeps replication from working',
    load: () => import('./commands/doctor.ts'),
  },
  {
    name: 'info',
    summary: 'show a running daemon',
    load: () => import('./commands/info.ts'),
  },
  {
    name: 'list',
    summary: 'list the databases of a running daemon',
    load: () => import('./commands/list.ts'),
  },
  {
    name: 'ltx',
    summary: 'list the LTX files of a replica',
    load: () => import('./commands/ltx.ts'),
  },
  {
    name: 'mcp-stdio',
    summary: 'serve an assistant (MCP) over standard input and output',
    load: () => import('./commands/mcp-stdio.ts'),
  },
  {
    name: 'read-replica',
    summary: 'show, sync or promote read replicas (not available yet)',
    hidden: true,
    load: () => import('./commands/read-replica.ts'),
  },
  {
    name: 'register',
    summary: 'add a database to a running daemon',
    load: () => import('./commands/register.ts'),
  },
  {
    name: 'replicate',
    summary: 'replicate databases continuously, or once',
    load: () => import('./commands/replicate.ts'),
  },
  {
    name: 'reset',
    summary: 'delete the local replication state of a database',
    load: () => import('./commands/reset.ts'),
  },
  {
    name: 'restore',
    summary: 'rebuild a database from its replica',
    load: () => import('./commands/restore.ts'),
  },
  {
    name: 'snapshots',
    summary: 'list the snapshots of a replica',
    load: () => import('./commands/snapshots.ts'),
  },
  {
    name: 'start',
    summary: 'resume a database of a running daemon',
    load: () => import('./commands/start.ts'),
  },
  {
    name: 'status',
    summary: 'show the local replication status of the databases',
    load: () => import('./commands/status.ts'),
  },
  {
    name: 'stop',
    summary: 'pause a database of a running daemon',
    load: () => import('./commands/stop.ts'),
  },
  {
    name: 'sync',
    summary: 'have a running daemon sync a database now',
    load: () => import('./commands/sync.ts'),
  },
  {
    name: 'unregister',
    summary: 'remove a database from a running daemon',
    load: () => import('./commands/unregister.ts'),
  },
  {
    name: 'verify',
    summary: 'check that a replica is complete, sound and restorable',
    load: () => import('./commands/verify.ts'),
  },
  { name: 'version', summary: 'print the version', load: () => import('./commands/version.ts') },
  {
    name: 'wal',
    summary: 'former name of ltx',
    hidden: true,
    load: () => import('./commands/wal.ts'),
  },
];

/** The main help. Spec: cli 16. */
export function mainHelp(): string {
  const shown = commandTable.filter(({ hidden }) => hidden !== true);
  const width = Math.max(...shown.map(({ name }) => name.length)) + 4;
  const lines = shown.map(({ name, summary }) => `    ${name.padEnd(width)}${summary}`);
  return `litestream replicates SQLite databases to object storage and restores them.

usage: litestream <command> [flags] [arguments]

The commands are:

${lines.join('\n')}

Run "litestream <command> -h" for the flags of a command.
`;
}
