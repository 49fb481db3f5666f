/**
 * The benchmarks (bench/NAME.bench.ts), one after the other, each in a process of its own:
 *
 * - `npm run bench [-- NAME…]` runs and prints them;
 * - `npm run bench -- --save` also writes the ratios to bench/baseline.json, beside those of other benchmarks;
 * - `npm run bench -- --gate` runs the quick ones and holds each ratio against its generous bound. A measure that misses it is taken a second
 *   time before it counts: the machine may be busy. The last line is `N passed, N failed`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { Figure } from '../bench/harness/figures.ts';
import { isWithin, TARGETS, type TargetId } from '../bench/harness/targets.ts';

const ROOT = dirname(import.meta.dirname);
const BASELINE = join(ROOT, 'bench/baseline.json');

/** What the gate runs: together less than half a minute on a machine that does nothing else. */
const GATE: readonly (readonly [name: string, args: readonly string[]])[] = [
  ['kernels', ['4096']],
  ['kernels', ['512']],
  ['codec', ['24']],
  ['daemon', ['100']],
  ['restore', ['48']],
  ['upkeep', ['48']],
];

interface Run {
  readonly file: string;
  readonly args: readonly string[];
  readonly quick: boolean;
}

interface Outcome {
  readonly run: Run;
  readonly figures: readonly Figure[];
  /** It ended without an error. */
  readonly ok: boolean;
}

function measure(run: Run): Outcome {
  process.stdout.write(`\n== ${run.file} ${run.args.join(' ')}\n`);
  const folder = mkdtempSync(join(tmpdir(), 'litestream-bench-'));
  const list = join(folder, 'figures');
  writeFileSync(list, '');
  try {
    const { status } = spawnSync(process.execPath, ['--expose-gc', run.file, ...run.args], {
      cwd: ROOT,
      stdio: 'inherit',
      env: {
        ...process.env,
        LITESTREAM_BENCH_FIGURES: list,
        LITESTREAM_BENCH_QUICK: run.quick ? '1' : '0',
      },
    });
    const figures = readFileSync(list, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map(parseFigure);
    return { run, figures, ok: status === 0 };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function isId(id: unknown): id is TargetId {
  return typeof id === 'string' && id in TARGETS;
}

function parseFigure(line: string): Figure {
  const value: unknown = JSON.parse(line);
  if (typeof value !== 'object' || value === null || !('id' in value) || !isId(value.id)) {
    throw new Error(`no such measure: ${line}`);
  }
  const ratio = 'ratio' in value && typeof value.ratio === 'number' ? value.ratio : undefined;
  return { id: value.id, ratio };
}

function passes({ id, ratio }: Figure): boolean {
  const target = TARGETS[id];
  return ratio === undefined || isWithin(target, ratio, target.gate);
}

/** True if every ratio is within its bound, at the first try or the second. */
function gate(save: boolean): boolean {
  const best = new Map<TargetId, Figure>();
  const failed = new Set<string>();
  let passed = 0;
  for (const [name, args] of GATE) {
    const run: Run = { file: `bench/${name}.bench.ts`, args, quick: true };
    const first = measure(run);
    for (const figure of first.figures) best.set(figure.id, figure);
    const missed = first.figures.filter((figure) => !passes(figure));
    passed += first.figures.length - missed.length;
    if (missed.length === 0 && first.ok) continue;
    process.stdout.write(`a second time: ${missed.map(({ id }) => id).join(', ') || 'failed'}\n`);
    const second = measure(run);
    for (const figure of second.figures) best.set(figure.id, figure);
    const saved = missed.filter(({ id }) =>
      second.figures.some((figure) => figure.id === id && passes(figure)),
    );
    passed += saved.length;
    for (const figure of missed) if (!saved.includes(figure)) failed.add(figure.id);
    if (!second.ok) failed.add(`${name} ${args.join(' ')}`);
  }
  if (save) saveBaseline([...best.values()]);
  if (failed.size > 0) process.stdout.write(`\nmissed: ${[...failed].join(', ')}\n`);
  process.stdout.write(`\n${passed} passed, ${failed.size} failed\n`);
  return failed.size === 0;
}

function all(names: ReadonlySet<string>, save: boolean): boolean {
  const files = globSync('bench/**/*.bench.ts', { cwd: ROOT })
    .toSorted()
    .filter((file) => names.size === 0 || names.has(basename(file, '.bench.ts')));
  if (files.length === 0) throw new Error('no such benchmark in bench/');
  const runs = files.flatMap((file): Run[] => {
    const run = { file, args: [], quick: false };
    return basename(file) === 'kernels.bench.ts' ? [run, { ...run, args: ['512'] }] : [run];
  });
  const outcomes = runs.map(measure);
  if (save) saveBaseline(outcomes.flatMap(({ figures }) => figures));
  return outcomes.every(({ ok }) => ok);
}

/** Ratios of a machine and a day. What was not measured now stays. */
function saveBaseline(figures: readonly Figure[]): void {
  const known = readBaseline();
  const ratios: Partial<Record<TargetId, number>> = { ...known };
  for (const { id, ratio } of figures) if (ratio !== undefined) ratios[id] = round(ratio);
  const [processor] = cpus();
  const machine = `${cpus().length} × ${processor?.model ?? 'unknown'}, ${process.platform} ${release()}, Node.js ${process.version}`;
  const date = new Date().toISOString().slice(0, 10);
  writeFileSync(BASELINE, `${JSON.stringify({ machine, date, ratios }, undefined, 2)}\n`);
}

function readBaseline(): Partial<Record<TargetId, number>> {
  if (!existsSync(BASELINE)) return {};
  const value: unknown = JSON.parse(readFileSync(BASELINE, 'utf8'));
  const known: Partial<Record<TargetId, number>> = {};
  if (typeof value !== 'object' || value === null || !('ratios' in value)) return known;
  const { ratios } = value;
  if (typeof ratios !== 'object' || ratios === null) return known;
  for (const [id, ratio] of Object.entries(ratios)) {
    if (isId(id) && typeof ratio === 'number') known[id] = ratio;
  }
  return known;
}

function round(ratio: number): number {
  return Number(ratio.toPrecision(3));
}

function main(args: readonly string[]): void {
  const names = new Set(args.filter((arg) => !arg.startsWith('--')));
  const save = args.includes('--save');
  const good = args.includes('--gate') ? gate(save) : all(names, save);
  if (!good) process.exitCode = 1;
}

main(process.argv.slice(2));
