/**
 * `npm run soak -- --minutes M [--seed N]`: repeats the simulation with ever new seeds until the time is over or a run fails. Each
 * run gets its seed in `LITESTREAM_TEST_SEED`; a failing one is printed with the command that repeats it.
 */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
});
const end = performance.now() + Number(values.minutes) * 60_000;
let seed = Number(values.seed);
let runs = 0;
do {
  const env = { ...process.env, SLOW: '1', LITESTREAM_TEST_SEED: String(seed) };
  const runner = join(import.meta.dirname, 'test.ts');
  const { status, stdout } = spawnSync(process.execPath, [runner, 'simulation'], {
    cwd: dirname(import.meta.dirname),
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status !== 0) {
    process.stdout.write(`${stdout}\nfailed with seed ${seed}; to repeat it:\n`);
    process.stdout.write(`  npm run soak -- --minutes 0 --seed ${seed}\n`);
    process.exitCode = 1;
    break;
  }
  runs += 1;
  seed += 1;
} while (performance.now() < end);
process.stdout.write(
  `${runs} runs passed, the last seed was ${seed - (process.exitCode === 1 ? 0 : 1)}\n`,
);
