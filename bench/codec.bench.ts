/**
 * Whole files against programs that do a comparable job, all in one run: `node bench/codec.bench.ts [MB] [folder]`.
 *
 * A snapshot is written from a database file and read back into one; the limits are `lz4 -1 -B4`, `lz4 -d` and `cp` of the
 * same file. Use a folder in memory (`/dev/shm`) to measure the processor rather than the disk. Spec: performance 16, P8–P10.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EncodePool, encodeAlone } from '../src/codec/index.ts';
import { present } from '../src/lib/assert.ts';
import { systemClock } from '../src/lib/clock.ts';
import { figure, isQuick, least } from './harness/figures.ts';
import { decodeInto, type Encode, encodeDatabase } from './harness/ltx.ts';
import { cpuSeconds, hasSecondCore } from './harness/processes.ts';

const megabytes = Number(process.argv[2] ?? 100);
const parent = process.argv[3] ?? (fs.existsSync('/dev/shm') ? '/dev/shm' : tmpdir());
const folder = fs.mkdtempSync(join(parent, 'litestream-bench-'));
const path = (name: string): string => join(folder, name);
const pageSize = 4096;
const commit = (megabytes * 1e6) >>> 12;
const ROUNDS = isQuick ? 4 : 5;

/** Pages like those of a table: rows of words and numbers, one page in six random. Compresses by about a third. */
function makePages(): void {
  let seed = 1;
  const below = (bound: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return (seed >>> 8) % bound;
  };
  const words = Array.from({ length: 1500 }, () =>
    below(1e9)
      .toString(36)
      .slice(0, 2 + below(6)),
  );
  const file = fs.openSync(path('source'), 'w');
  const page = Buffer.alloc(pageSize);
  for (let pgno = 1; pgno <= commit; pgno++) {
    for (let at = 0; at < pageSize;) {
      const word = below(6) === 0 ? String(below(1e9)) : present(words[below(1500)], 'word');
      at += page.write(pgno % 6 === 0 ? String.fromCharCode(below(128)) : `${word} `, at, 'latin1');
    }
    fs.writeSync(file, page);
  }
  fs.closeSync(file);
}

const encode = (run: Encode): Promise<void> =>
  encodeDatabase(run, { from: path('source'), to: path('snapshot'), pageSize });

function program(name: string, ...args: string[]): () => void {
  return () => {
    if (spawnSync(name, args).status !== 0) throw new Error(`${name} failed`);
  };
}

async function main(): Promise<void> {
  const pool = new EncodePool(systemClock);
  const variants: readonly (readonly [string, () => void | Promise<void>])[] = [
    ['lz4 -1 -B4', program('lz4', '-1', '-B4', '-qf', path('source'), path('lz4'))],
    ['encode, one thread', () => encode((...args) => encodeAlone(...args, { clock: systemClock }))],
    ['encode, pool', () => encode((...args) => pool.encode(...args))],
    ['lz4 -d', program('lz4', '-dqf', path('lz4'), path('unlz4'))],
    ['cp', program('cp', path('source'), path('copy'))],
    ['decode', () => void decodeInto(path('snapshot'), path('restored'), pageSize)],
  ];
  makePages();
  const times = new Map(variants.map(([name]) => [name, [] as number[]]));
  const cpu = new Map<string, number>();
  const coresBefore = await hasSecondCore();
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [name, run] of variants) {
      const start = performance.now();
      const [own, others] = [process.cpuUsage(), cpuSeconds('self', 'children')];
      await run();
      if (round === 0) continue;
      times.get(name)?.push(performance.now() - start);
      const { system, user } = process.cpuUsage(own);
      const spent = (system + user) / 1e6 + cpuSeconds('self', 'children') - others;
      cpu.set(name, (cpu.get(name) ?? 0) + spent);
    }
  }
  await pool.close();
  checkData();
  const median = (name: string): number => {
    const sorted = (times.get(name) ?? []).toSorted((a, b) => a - b);
    return present(sorted[sorted.length >> 1], `times of ${name}`);
  };
  const limits = ['lz4 -1 -B4', 'lz4 -d', 'cp'];
  for (const [name] of variants) {
    const ratios = limits.map((limit) => `${(median(name) / median(limit)).toFixed(2)} × ${limit}`);
    process.stdout.write(
      `${name.padEnd(20)}${median(name).toFixed(0).padStart(6)} ms  ${ratios.join('  ')}\n`,
    );
  }
  await figures(times, cpu, coresBefore);
}

/** Of one thread the processor time counts: other people's work does not change it much. */
async function figures(
  times: ReadonlyMap<string, readonly number[]>,
  cpu: ReadonlyMap<string, number>,
  coresBefore: boolean,
): Promise<void> {
  const spent = (name: string): number => present(cpu.get(name), name);
  const best = (name: string): number => least(present(times.get(name), name));
  figure('P8', spent('encode, one thread') / spent('lz4 -1 -B4'));
  const twoCores = coresBefore && (await hasSecondCore());
  figure('P9', twoCores ? best('encode, pool') / best('lz4 -1 -B4') : undefined);
  figure('P10', spent('decode') / spent('lz4 -d'));
}

/** What was written has to be what was read. */
function checkData(): void {
  if (!fs.readFileSync(path('restored')).equals(fs.readFileSync(path('source')))) {
    throw new Error('the restored file is another one');
  }
}

try {
  await main();
} finally {
  fs.rmSync(folder, { recursive: true });
}
