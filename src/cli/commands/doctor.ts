import { resolveDatabases, sharedLocations } from '../../app/index.ts';
import { type Config, normalizePath, type ResolvedDatabase } from '../../config/index.ts';
import { requireSafeSqlite, sqliteVersion } from '../../sqlite/index.ts';
import { type Command, configFlags, defineCommand, type Io, limitPositionals } from '../command.ts';
import { type ConfigFlagValues, readConfig } from '../config.ts';
import { type Check, Checks } from '../doctor/check.ts';
import { checkDatabase } from '../doctor/database.ts';
import { checkSocket } from '../doctor/holder.ts';
import { checkReplica } from '../doctor/replica.ts';
import { EXIT_ERROR, EXIT_OK } from '../exit-codes.ts';
import { boolFlag } from '../flags.ts';
import { formatJson } from '../output/format.ts';
import { formatTable } from '../output/table.ts';

/** Databases, with their replicas, that are looked at together. */
const PARALLEL = 4;

interface Found {
  readonly config: Config;
  readonly databases: readonly ResolvedDatabase[];
}

async function checkConfiguration(
  values: ConfigFlagValues,
  io: Io,
  all: Check[],
): Promise<Found | undefined> {
  const checks = new Checks('configuration');
  try {
    const { config, warnings } = await readConfig(values, io);
    for (const { attributes, message } of warnings) {
      const { hint = '', ...others } = attributes;
      const text = Object.entries(others).map(([key, value]) => `${key}=${value}`);
      checks.warn(
        'file',
        [message, ...text].join(' '),
        hint || 'correct the file, or remove the key',
      );
    }
    const { databases } = await resolveDatabases(config.databases);
    for (const { other, path } of sharedLocations(databases)) {
      checks.fail('replicas', `${path} and ${other} share a location`, 'give each its own path');
    }
    if (databases.length === 0) checks.fail('file', 'no databases in it', 'add a dbs entry');
    else
      checks.ok('file', `${databases.length} ${databases.length === 1 ? 'database' : 'databases'}`);
    return { config, databases };
  } catch (error) {
    checks.failure('file', error, 'correct the configuration file, or name another with -config');
    return undefined;
  } finally {
    all.push(...checks.all);
  }
}

function checkMachine(): Check[] {
  const checks = new Checks('machine');
  try {
    requireSafeSqlite();
    checks.ok('SQLite', sqliteVersion());
  } catch (error) {
    checks.failure('SQLite', error, 'use Node.js 24.15 or newer');
  }
  return checks.all;
}

async function checkOne(database: ResolvedDatabase, io: Io): Promise<Check[]> {
  const checks = await checkDatabase(database, io);
  for (const replica of database.replicas) {
    checks.push(...(await checkReplica(replica, database.path, io)));
  }
  return checks;
}

async function checkAll(databases: readonly ResolvedDatabase[], io: Io): Promise<Check[]> {
  const results: Check[][] = databases.map(() => []);
  const queue = databases.entries();
  const work = async (): Promise<void> => {
    for (const [index, database] of queue) results[index] = await checkOne(database, io);
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  return results.flat();
}

function report(all: readonly Check[]): string {
  const rows = all.map(({ check, detail, status, subject }) => [subject, check, status, detail]);
  const wanted = all.filter(({ remedy }) => remedy !== '');
  const remedies = wanted.map(
    ({ check, remedy, status, subject }) =>
      `${status.toUpperCase()} ${subject}: ${check}\n  ${remedy}\n`,
  );
  const failed = all.filter(({ status }) => status === 'failed').length;
  const verdict =
    failed === 0
      ? 'Nothing is in the way of replication.\n'
      : `${failed} of ${all.length} checks failed.\n`;
  return [formatTable(['subject', 'check', 'result', 'detail'], rows), ...remedies, verdict].join(
    '\n',
  );
}

/** Looks for everything that keeps replication from working. */
export const command: Command = defineCommand({
  name: 'doctor',
  synopsis: ['doctor [flags] [DB_PATH]'],
  about: `Looks for what keeps replication from working: configuration, database files, disk, replicas, other processes. May run while the
database is in use and replicated: no lock is taken or lost. To each replica a small object is written, read back and deleted, in a
place that nobody looks at.`,
  flags: { ...configFlags, json: boolFlag('print JSON') },
  more: 'The exit status is 1 if a check failed.',
  async run({ positionals, values }, io) {
    limitPositionals(positionals, 1);
    const [argument = ''] = positionals;
    const all = checkMachine();
    const found = await checkConfiguration(values, io, all);
    if (found !== undefined) {
      const only = argument === '' ? undefined : normalizePath(argument);
      const wanted = found.databases.filter(({ path }) => only === undefined || path === only);
      if (only !== undefined && wanted.length === 0) {
        const checks = new Checks(only);
        checks.fail('configuration', 'is not in the configuration file', 'check the path');
        all.push(...checks.all);
      }
      all.push(...(await checkSocket(found.config)), ...(await checkAll(wanted, io)));
    }
    const failed = all.some(({ status }) => status === 'failed');
    io.stdout.write(values.json ? formatJson({ ok: !failed, checks: all }) : report(all));
    return failed ? EXIT_ERROR : EXIT_OK;
  },
});
