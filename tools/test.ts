/**
 * Runs the tests: `node tools/test.ts [--fast | SUITE… | FILE…]`.
 *
 * Without arguments every suite; `--fast` only those that need neither other programs nor seconds. The last line is
 * `N passed, N failed, N skipped`; the exit status is 0 if nothing failed.
 *
 * Suites follow each other without a pause: the next one's files begin while the last ones of a suite are still running. Those of the
 * simulation run beside the others, which mostly wait, at the lowest priority; what is left of them comes last.
 *
 * A test that cannot run here skips with a reason that starts with the name of what is missing (`reference: not installed`).
 * `LITESTREAM_TEST_REQUIRED` is a comma-separated list of such names and of suites, or `all`: a skip of one of these is a failure.
 * `LITESTREAM_TEST_AGAIN=1` runs each file with a failure once more, alone and last: then only a second failure counts, and the first one
 * is named as unsteady. For machines whose load nobody controls; a simulation is never given a second try, because its seeds are fixed.
 */
import { globSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { cpus } from 'node:os';
import { run, type TestsStream } from 'node:test';

/** Test files of one purpose. */
export interface Suite {
  readonly name: string;
  readonly fast: boolean;
  readonly globs: readonly string[];
  /** Its files run on what others leave of the processors, and give way to them: nothing in them looks at real time. */
  readonly background?: true;
}

/** Suites in the order in which they run. */
export const SUITES: readonly Suite[] = [
  { name: 'unit', fast: true, globs: ['src/**/*.test.ts'] },
  { name: 'tools', fast: true, globs: ['test/tools/**/*.test.ts'] },
  { name: 'vectors', fast: true, globs: ['test/vectors/**/*.test.ts'] },
  { name: 'integration', fast: false, globs: ['test/integration/**/*.test.ts'] },
  { name: 'cli', fast: false, globs: ['test/cli/**/*.test.ts'] },
  { name: 'backends', fast: false, globs: ['test/backends/**/*.test.ts'] },
  { name: 'simulation', fast: false, globs: ['test/simulation/**/*.test.ts'], background: true },
  { name: 'interop', fast: false, globs: ['test/interop/**/*.test.ts'] },
];

/** Test files that run at the same time: processes of their own, some with daemons beside them. */
const CONCURRENCY = Math.min(2, cpus().length);
const TEST_TIMEOUT_MS = 180_000;
/** Of a test that gives way to all others. */
const BACKGROUND_TIMEOUT_MS = 900_000;
/** One thread per file is all there is room for: collecting garbage and compiling on others costs a sixth more in all. */
const BACKGROUND_FLAGS = [
  '--single-threaded',
  `--import=${import.meta.resolve('./background.ts')}`,
];
const ROOT = dirname(import.meta.dirname);
/** Where `bin/litestream` keeps compiled code, too: a file then costs half of the processor's time. */
const COMPILED = join(ROOT, 'node_modules/.cache/compiled');

/** What one suite came to. */
export interface Tally {
  passed: number;
  failed: number;
  /** Reason of each skipped test. */
  skipped: string[];
}

/** A suite's files that were asked for. */
interface Selection {
  readonly name: string;
  readonly files: readonly string[];
  readonly background: boolean;
}

/** What a suite has come to so far. */
interface Progress {
  readonly selection: Selection;
  /** By file. */
  readonly tallies: Map<string, Tally>;
  startedMs: number;
}

interface Job {
  readonly progress: Progress;
  readonly file: string;
}

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

/**
 * Runs every file, {@link CONCURRENCY} at a time, and one of the background beside them as long as there are others. Says what each suite
 * came to when its last file is through.
 */
async function runFiles(
  selections: readonly Selection[],
  required: ReadonlySet<string>,
): Promise<Progress[]> {
  const all = selections.map((selection) => ({
    selection,
    tallies: new Map<string, Tally>(),
    startedMs: 0,
  }));
  const jobs = all.flatMap((progress) =>
    progress.selection.files.map((file): Job => ({ progress, file })),
  );
  const isBackground = ({ progress }: Job): boolean => progress.selection.background;
  const foreground = jobs.filter((job) => !isBackground(job));
  const background = jobs.filter(isBackground);
  const lane = async (next: () => Job | undefined): Promise<void> => {
    for (let job = next(); job !== undefined; job = next()) await runJob(job, required);
  };
  const lanes = Array.from({ length: CONCURRENCY }, () =>
    lane(() => foreground.shift() ?? background.shift()),
  );
  lanes.push(lane(() => (foreground.length > 0 ? background.shift() : undefined)));
  await Promise.all(lanes);
  return all;
}

async function runJob({ file, progress }: Job, required: ReadonlySet<string>): Promise<void> {
  const { selection, tallies } = progress;
  if (progress.startedMs === 0) progress.startedMs = performance.now();
  tallies.set(file, await runFile(selection, file, required));
  if (tallies.size < selection.files.length) return;
  const seconds = ((performance.now() - progress.startedMs) / 1000).toFixed(1);
  const summary = summaryLine([sumOf(tallies.values())]);
  say(`${selection.name}: ${summary} (${tallies.size} files, ${seconds} s)`);
}

/**
 * Runs one file and reports failures as they come. One at a time, because a result names the file in which a test is written, which may
 * be one that several test files import.
 */
async function runFile(
  { name: suite, background }: Selection,
  entry: string,
  required: ReadonlySet<string>,
): Promise<Tally> {
  const tally: Tally = { passed: 0, failed: 0, skipped: [] };
  const stream: TestsStream = run({
    files: [resolve(ROOT, entry)],
    concurrency: 1,
    timeout: background ? BACKGROUND_TIMEOUT_MS : TEST_TIMEOUT_MS,
    execArgv: background ? BACKGROUND_FLAGS : [],
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
  { selection, tallies }: Progress,
  required: ReadonlySet<string>,
): Promise<void> {
  const files = [...tallies].filter(([, { failed }]) => failed > 0).map(([file]) => file);
  if (selection.name === 'simulation' || files.length === 0) return;
  say(`${selection.name}: once more ${files.join(', ')}`);
  for (const file of files) {
    const tally = await runFile(selection, file, required);
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
function select(args: readonly string[]): Selection[] {
  const named = args.filter((arg) => !arg.startsWith('--'));
  const files = named.filter((arg) => arg.endsWith('.ts'));
  const wanted = named.filter((arg) => !arg.endsWith('.ts'));
  const unknown = wanted.find((name) => SUITES.every((suite) => suite.name !== name));
  if (unknown !== undefined) throw new Error(`no such suite: ${unknown}`);
  if (files.length > 0) return [{ name: 'files', files, background: false }];
  return SUITES.filter((suite) =>
    wanted.length > 0 ? wanted.includes(suite.name) : suite.fast || !args.includes('--fast'),
  ).map(({ name, globs, background = false }) => ({
    name,
    files: globSync([...globs], { cwd: ROOT }).toSorted(),
    background,
  }));
}

async function main(args: readonly string[]): Promise<void> {
  process.chdir(ROOT);
  const required = parseRequired(process.env['LITESTREAM_TEST_REQUIRED']);
  process.env['NODE_COMPILE_CACHE'] ??= COMPILED;
  const selections = select(args);
  const empty = selections.filter(({ files }) => files.length === 0).map(({ name }) => name);
  for (const name of empty) say(`${name}: no test files`);
  // An empty suite that is required is a failure, not a success.
  const tallies: Tally[] = empty.map((name) => ({
    passed: 0,
    failed: required.has(name) ? 1 : 0,
    skipped: [],
  }));
  for (const progress of await runFiles(selections, required)) {
    if (process.env['LITESTREAM_TEST_AGAIN'] === '1') await runAgain(progress, required);
    tallies.push(sumOf(progress.tallies.values()));
  }
  reportSkips(tallies);
  say(`\n${summaryLine(tallies)}`);
  const none = tallies.every((tally) => tally.passed === 0);
  process.exitCode = none || tallies.some((tally) => tally.failed > 0) ? 1 : 0;
}

if (import.meta.main) await main(process.argv.slice(2));
