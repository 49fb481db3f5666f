import assert from 'node:assert/strict';
import { Socket } from 'node:net';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FakeClock } from '../../testing/index.ts';
import { DirectSocket } from './direct-socket.ts';

const HEAD = 'HTTP/1.1 206 Partial Content\r\ncontent-length: 1';

/** A connection on which bytes arrive in pieces of the given sizes, as far as it is read. */
class Wire extends Socket {
  readonly direct = new DirectSocket(new FakeClock(), 'store');
  readonly #sizes: readonly number[];
  #incoming: Buffer = Buffer.alloc(0);
  #reading = true;
  #turn = 0;
  #room: Uint8Array = this.#next();

  constructor(sizes: readonly number[]) {
    super();
    this.#sizes = sizes;
    this.direct.use(this);
  }

  send(bytes: Uint8Array): void {
    this.#incoming = Buffer.concat([this.#incoming, bytes]);
  }

  override resume(): this {
    this.#reading = true;
    return this;
  }

  /** Delivers until everything has arrived, or reading has stopped. */
  deliver(): void {
    while (this.#reading && this.#incoming.length > 0) {
      const size = this.#sizes[this.#turn % this.#sizes.length] ?? 1;
      this.#turn += 1;
      const count = this.#incoming.copy(this.#room, 0, 0, Math.min(size, this.#incoming.length));
      this.#incoming = this.#incoming.subarray(count);
      this.#reading = this.direct.onread.callback(count, this.#room);
      this.#room = this.#next();
    }
  }

  #next(): Uint8Array {
    const { buffer } = this.direct.onread;
    const room = typeof buffer === 'function' ? buffer() : buffer;
    assert.ok(room.length > 0, 'there is always room');
    return room;
  }
}

/** Delivers until it is settled. */
async function during<T>(wire: Wire, waiting: Promise<T>): Promise<T> {
  const state = { settled: false };
  const settle = (): void => {
    state.settled = true;
  };
  waiting.then(settle, settle);
  for (let turn = 0; turn < 1000; turn += 1) {
    wire.deliver();
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
    if (state.settled) return await waiting;
  }
  assert.fail('waits for ever');
}

describe('a direct socket', () => {
  it('brings every byte to its place, however the bytes arrive', async () => {
    const answer = fc.record({
      body: fc.integer({ min: 0, max: 400_000 }),
      targets: fc.array(fc.integer({ min: 1, max: 150_000 }), { minLength: 1, maxLength: 3 }),
    });
    const pieces = fc.array(fc.integer({ min: 20, max: 300_000 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(
        pieces,
        fc.array(answer, { minLength: 1, maxLength: 4 }),
        async (sizes, answers) => {
          const wire = new Wire(sizes);
          for (const { body, targets } of answers) {
            const bytes = Uint8Array.from({ length: body }, (_, at) => (at * 7 + (at >> 8)) & 255);
            wire.send(Buffer.concat([Buffer.from(`${HEAD}\r\n\r\n`), bytes]));
            assert.equal(await during(wire, wire.direct.head(1000)), HEAD);
            const found = new Uint8Array(body);
            for (let at = 0, turn = 0; at < body; turn += 1) {
              const size = targets[turn % targets.length] ?? 1;
              const least = Math.max(size, Math.ceil(body / 20));
              const target = found.subarray(at, at + least);
              at += await during(wire, wire.direct.fill(target, 1000));
            }
            assert.equal(Buffer.compare(found, bytes), 0);
            assert.equal(wire.direct.unread, false);
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it('has room for a head that begins at the end of the window', async () => {
    const wire = new Wire([32_000]);
    // Fills the window but for 20 bytes.
    const body = 2 ** 18 - 20;
    wire.send(new Uint8Array(body));
    const parts = [60_000, body - 60_000];
    for (const part of parts) await during(wire, wire.direct.fill(new Uint8Array(part), 1000));
    wire.send(Buffer.from(`${HEAD}\r\n\r\n`));
    assert.equal(await during(wire, wire.direct.head(1000)), HEAD);
  });

  it('refuses a head without an end', async () => {
    const wire = new Wire([1000]);
    wire.send(new Uint8Array(100_000).fill(97));
    await assert.rejects(during(wire, wire.direct.head(1000)), /head of the answer is too long/);
  });
});
