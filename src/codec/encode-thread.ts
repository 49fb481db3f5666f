import { parentPort } from 'node:worker_threads';
import { createKernel, newEncodeJob, type EncodeJob, type Kernel } from '../kernels/index.ts';
import { chunkLayout, type EncodeReply, type EncodeRequest } from './encode-chunk.ts';

/**
 * A thread of an `EncodePool`: takes a chunk of pages from shared memory, frames it in a kernel of its own, puts the frames
 * back. Only numbers travel in messages.
 */

let kernel: Kernel | undefined;
const job: EncodeJob = newEncodeJob();

function encode({ id, pageSize, count, chunk }: EncodeRequest): EncodeReply {
  const layout = chunkLayout(pageSize);
  kernel ??= createKernel({ arenaBytes: chunkLayout(512).bytes + 128 * 1024, streams: 1 });
  const list = kernel.base;
  const sizes = list + layout.pages * 8;
  const pages = sizes + layout.pages * 4;
  const pgnos = new Uint32Array(chunk, layout.pgnos, count);
  kernel.bytes.set(new Uint8Array(chunk, 0, count * pageSize), pages);
  for (let index = 0; index < count; index++) {
    kernel.words[list / 4 + index * 2] = pgnos[index] ?? 0;
    kernel.words[list / 4 + index * 2 + 1] = pages + index * pageSize;
  }
  job.list = list;
  job.sizes = sizes;
  job.count = count;
  job.pageSize = pageSize;
  job.target = pages + layout.pages * pageSize;
  job.targetEnd = kernel.limit;
  job.stream = 0;
  kernel.crcReset(0, 0n);
  kernel.encodePages(job);
  if (job.pages !== count) throw new Error('the frames of a chunk do not fit');
  new Uint32Array(chunk, layout.sizes, count).set(
    new Uint32Array(kernel.bytes.buffer, sizes, count),
  );
  const frames = kernel.bytes.subarray(job.target, job.target + job.bytes);
  new Uint8Array(chunk, layout.frames, job.bytes).set(frames);
  return { id, bytes: job.bytes, state: kernel.crcState(0) };
}

parentPort?.on('message', (request: EncodeRequest) => {
  parentPort?.postMessage(encode(request));
});
