/**
 * Runs the tests: `node tools/test.ts [--fast | SUITE… | FILE…]`.
 *
 * Without arguments every suite; `--fast` only those that need neither other programs nor seconds. The last line is
 * `N passed, N failed, N skipped`; the exit status is 0 if nothing failed.
 *
 * A test that cannot run here skips with a reason that starts with the name of what is missing (`reference: not installed`).
 * `LITESTREAM_TEST_REQUIRED` is a comma-separated list of such names and of suites, or `all`: a skip of one of these is a failure.
 * `LITESTREAM_TEST_AGAIN=1` runs each file with a failure once more, alone: then only a second failure counts, and the first one is
 * named as unsteady. For machines whose load nobody controls; a simulation is never given a second try, because its seeds are fixed.
 */
import { globSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { cpus } from 'node:os';
import { run, type TestsStream } from 'node:test';

/** Suites in the order in which they run. */
export const SUITES: readonly { name: string; fast: boolean; globs: readonly string[] }[] = [
  { name: 'unit', fast: true, globs: ['src/**/*.test.ts'] },
  { name: 'tools', fast: true, globs: ['test/tools/**/*.test.ts'] },
  { name: 'vectors', fast: true, globs: ['test/vectors/**/*.test.ts'] },
  { name: 'integration', fast: false, globs: ['test/integration/**/*.test.ts'] },
  { name: 'cli', fast: false, globs: ['test/cli/**/*.test.ts'] },
  { name: 'backends', fast: false, globs: ['test/backends/**/*.test.ts'] },
  { name: 'simulation', fast: false, globs: ['test/simulation/**/*.test.ts'] },
  { name: 'interop', fast: false, globs: ['test/interop/**/*.test.ts'] },
];

/** Test files that run at the same time: processes of their own, some with daemons beside them. */
const CONCURRENCY = Math.min(2, cpus().length);
const TEST_TIMEOUT_MS = 180_000;
const ROOT = dirname(import.meta.dirname);

/** What one suite came to. */
export interface Tally {
  passed: number;
  failed: number;
  /** Reason of each skipped test. */
  skipped: string[];
}

/** Tallies by test file. */
type FileTallies = Map<string, Tally>;

/** True if a test that was skipped in `suite` with `reason` had to run. */
export function isRequired(suite: string, reason: string, required: ReadonlySet<string>): boolean {
  const missing = /^([\w.-]+):/.exec(reason)?.[1];
  return (
    required.has('all') || required.has(suite) || (missing !== undefined && required.has(missing))
  );
}

/** The names in `LITESTREAM_TEST_REQUIRED`. */
export function parseRequired(text: string | undefined): ReadonlySet<string> {
  const names = (text ?? '').split(',').map((name) => name.trim());
  return new Set(names.filter((name) => name !== ''));
}

/** The last line of every run. */
export function summaryLine(tallies: readonly Tally[]): string {
  const sum = (pick: (tally: Tally) => number): number =>
    tallies.reduce((total, tally) => total + pick(tally), 0);
  return `${sum((t) => t.passed)} passed, ${sum((t) => t.failed)} failed, ${sum((t) => t.skipped.length)} skipped`;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function describeFailure(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}

/** Runs the files, `concurrency` at a time. */
async function runFiles(
  suite: string,
  files: readonly string[],
  required: ReadonlySet<string>,
  concurrency = CONCURRENCY,
): Promise<FileTallies> {
  const tallies: FileTallies = new Map();
  const left = [...files];
  const runner = async (): Promise<void> => {
    for (let file = left.shift(); file !== undefined; file = left.shift()) {
      tallies.set(file, await runFile(suite, file, required));
    }
  };
  await Promise.all(Array.from({ length: concurrency }, runner));
  return tallies;
}

/**
 * Runs one file and reports failures as they come. One at a time, because a result names the file in which a test is written, which may
 * be one that several test files import.
 */
async function runFile(
  suite: string,
  entry: string,
  required: ReadonlySet<string>,
): Promise<Tally> {
  const tally: Tally = { passed: 0, failed: 0, skipped: [] };
  const stream: TestsStream = run({
    files: [resolve(ROOT, entry)],
    concurrency: 1,
    timeout: TEST_TIMEOUT_MS,
  });
  const place = (file: string | undefined, name: string): string =>
    `${relative(ROOT, file ?? '')}: ${name}`;
  stream.on('test:pass', ({ name, file, skip, todo, details }) => {
    if (details.type === 'suite') return;
    const reason = skip ?? todo;
    if (reason === undefined || reason === false) {
      tally.passed += 1;
      return;
    }
    const text = typeof reason === 'string' ? reason : 'no reason given';
    if (isRequired(suite, text, required)) {
      tally.failed += 1;
      say(`FAILED  ${place(file, name)}\n  skipped although it is required here: ${text}`);
    } else {
      tally.skipped.push(text);
    }
  });
  stream.on('test:fail', ({ name, file, todo, details }) => {
    if (todo !== undefined && todo !== false) {
      // Known not to work, for the reason it gives: shown like a skip, never hidden.
      tally.skipped.push(typeof todo === 'string' ? todo : 'no reason given');
      return;
    }
    // A suite fails because a test in it did; that test was counted. One that fails by itself is a broken hook or file.
    const caused = details.error as Error & { failureType?: string };
    if (details.type === 'suite' && caused.failureType === 'subtestsFailed') return;
    tally.failed += 1;
    say(`FAILED  ${place(file, name)}\n${describeFailure(details.error).replace(/^/gm, '  ')}`);
  });
  // What a test prints reaches the terminal as it is (seeds, measurements).
  stream.on('test:stderr', ({ message }) => {
    process.stderr.write(message);
  });
  stream.on('test:stdout', ({ message }) => {
    process.stdout.write(message);
  });
  for await (const _event of stream) {
    // Drained to its end; the handlers above do the work.
  }
  return tally;
}

/** Runs files in which something failed once more, one at a time; the second outcome replaces the first. */
async function runAgain(
  suite: string,
  tallies: FileTallies,
  required: ReadonlySet<string>,
): Promise<void> {
  const files = [...tallies].filter(([, { failed }]) => failed > 0).map(([file]) => file);
  if (suite === 'simulation' || files.length === 0) return;
  say(`${suite}: once more ${files.join(', ')}`);
  for (const [file, tally] of await runFiles(suite, files, required, 1)) {
    tallies.set(file, tally);
    if (tally.failed === 0) say(`UNSTEADY  ${file} passed at its second try`);
  }
}

function sumOf(tallies: Iterable<Tally>): Tally {
  const sum: Tally = { passed: 0, failed: 0, skipped: [] };
  for (const { failed, passed, skipped } of tallies) {
    sum.passed += passed;
    sum.failed += failed;
    sum.skipped.push(...skipped);
  }
  return sum;
}

function reportSkips(tallies: readonly Tally[]): void {
  const reasons = new Map<string, number>();
  for (const reason of tallies.flatMap((tally) => tally.skipped)) {
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  if (reasons.size > 0) say('\nskipped');
  for (const [reason, count] of reasons) say(`${String(count).padStart(5)}  ${reason}`);
}

/** The suites and files that the arguments ask for. */
function select(args: readonly string[]): { name: string; files: string[] }[] {
  const named = args.filter((arg) => !arg.startsWith('--'));
  const files = named.filter((arg) => arg.endsWith('.ts'));
  const wanted = named.filter((arg) => !arg.endsWith('.ts'));
  const unknown = wanted.find((name) => SUITES.every((suite) => suite.name !== name));
  if (unknown !== undefined) throw new Error(`no such suite: ${unknown}`);
  if (files.length > 0) return [{ name: 'files', files }];
  return SUITES.filter((suite) =>
    wanted.length > 0 ? wanted.includes(suite.name) : suite.fast || !args.includes('--fast'),
  ).map(({ name, globs }) => ({ name, files: globSync([...globs], { cwd: ROOT }).toSorted() }));
}

async function main(args: readonly string[]): Promise<void> {
  process.chdir(ROOT);
  const required = parseRequired(process.env['LITESTREAM_TEST_REQUIRED']);
  const tallies: Tally[] = [];
  for (const { name, files } of select(args)) {
    if (files.length === 0) {
      // An empty suite that is required is a failure, not a success.
      const failed = required.has(name) ? 1 : 0;
      say(`${name}: no test files`);
      tallies.push({ passed: 0, failed, skipped: [] });
      continue;
    }
    const started = performance.now();
    const byFile = await runFiles(name, files, required);
    if (process.env['LITESTREAM_TEST_AGAIN'] === '1') await runAgain(name, byFile, required);
    const tally = sumOf(byFile.values());
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    say(`${name}: ${summaryLine([tally])} (${files.length} files, ${seconds} s)`);
    tallies.push(tally);
  }
  reportSkips(tallies);
  say(`\n${summaryLine(tallies)}`);
  const none = tallies.every((tally) => tally.passed === 0);
  process.exitCode = none || tallies.some((tally) => tally.failed > 0) ? 1 : 0;
}

if (import.meta.main) await main(process.argv.slice(2));
