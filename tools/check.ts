/**
 * Runs the checks: `node tools/check.ts static|fast|full|ci`. Each includes the one before it; a hook, a developer and CI
 * run the same.
 * Every step runs even if an earlier one failed. The last line is `N passed, N failed`, in steps.
 */
import { spawnSync } from 'node:child_process';
import { delimiter, dirname, join } from 'node:path';

const ROOT = dirname(import.meta.dirname);
const LEVELS = ['static', 'fast', 'full', 'ci'] as const;
type Level = (typeof LEVELS)[number];

interface Step {
  readonly name: string;
  readonly from: Level;
  readonly command: readonly string[];
  /** Not run from this level on, because a later step covers it. */
  readonly until?: Level;
  readonly env?: Readonly<Record<string, string>>;
}

const GRAPH = ['depcruise', '--config', '.dependency-cruiser.mjs', '--output-type', 'err', 'src'];

/** What a full machine has; CI has to have it. */
export const CI_REQUIRED: string = [
  'tools,cli,interop,reference',
  // Servers, by the names in test/support/servers/installed.ts; tools/install-servers brings them.
  'apache,asyncssh,azurite,fake-gcs-server,moto,nats-server,sshd,versitygw,wsgidav',
].join();

const STEPS: readonly Step[] = [
  { name: 'format', from: 'static', command: ['prettier', '--check', '--log-level', 'warn', '.'] },
  { name: 'types', from: 'static', command: ['tsc', '-p', '.'] },
  { name: 'lint', from: 'static', command: ['oxlint', '--type-aware', '--deny-warnings'] },
  { name: 'graph', from: 'static', command: GRAPH },
  { name: 'tidy', from: 'static', command: ['node', 'tools/tidy.ts'] },
  { name: 'dead code', from: 'static', command: ['knip', '--no-config-hints'] },
  {
    name: 'tests, fast',
    from: 'fast',
    until: 'full',
    command: ['node', 'tools/test.ts', '--fast'],
  },
  { name: 'tests', from: 'full', until: 'ci', command: ['node', 'tools/test.ts'] },
  {
    name: 'tests, nothing skipped',
    from: 'ci',
    command: ['node', 'tools/test.ts'],
    env: { LITESTREAM_TEST_REQUIRED: CI_REQUIRED },
  },
  { name: 'speed', from: 'ci', command: ['node', 'tools/bench.ts', '--gate'] },
];

/** The steps of a level, in order. */
export function stepsOf(level: Level): readonly Step[] {
  const rank = LEVELS.indexOf(level);
  return STEPS.filter(
    ({ from, until }) =>
      LEVELS.indexOf(from) <= rank && (until === undefined || rank < LEVELS.indexOf(until)),
  );
}

function runStep({ name, command, env }: Step): boolean {
  const [program = '', ...args] = command;
  const path = [join(ROOT, 'node_modules/.bin'), process.env['PATH'] ?? ''].join(delimiter);
  const started = performance.now();
  const { status } = spawnSync(program, args, {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...process.env, PATH: path, ...env },
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stdout.write(`${status === 0 ? 'ok    ' : 'FAILED'}  ${name} (${seconds} s)\n`);
  return status === 0;
}

function main(level: string | undefined): void {
  const known = LEVELS.find((one) => one === level);
  if (known === undefined) throw new Error(`which check? one of ${LEVELS.join(', ')}`);
  const steps = stepsOf(known);
  const failed = steps.filter((step) => !runStep(step));
  const names = failed.map((step) => step.name).join(', ');
  if (names !== '') process.stdout.write(`\nfailed: ${names}\n`);
  process.stdout.write(`\n${steps.length - failed.length} passed, ${failed.length} failed\n`);
  process.exitCode = failed.length === 0 ? 0 : 1;
}

if (import.meta.main) main(process.argv[2]);
