import { crc32 } from 'node:zlib';
import { check } from './violation.ts';

/** Digest of a database image; equal for equal images only, as far as 32 bits and the size can tell. */
export function imageKey(image: Uint8Array): string {
  return `${image.length}:${crc32(image)}`;
}

/** Every committed state that the application has seen, in order. */
export class History {
  readonly #keys: string[] = [];
  /** Images of the latest states, to compare when something is wrong. */
  readonly #images: Buffer[] = [];

  /** Index of the newest state. */
  get last(): number {
    return this.#keys.length - 1;
  }

  get size(): number {
    return this.#keys.length;
  }

  key(index: number): string | undefined {
    return this.#keys[index];
  }

  image(index: number): Buffer | undefined {
    return this.#images[index];
  }

  /** Notes the state after an operation; nothing if it is the state before. The image is kept, not copied. */
  note(image: Uint8Array): void {
    const key = imageKey(image);
    if (this.#keys.at(-1) === key) return;
    this.#keys.push(key);
    this.#images.push(Buffer.from(image.buffer, image.byteOffset, image.length));
  }

  /** The first state from `from` on that has this key. */
  find(key: string, from: number): number | undefined {
    const index = this.#keys.indexOf(key, from);
    return index === -1 ? undefined : index;
  }

  /** The first state from `from` on that is this image, byte for byte. */
  findImage(image: Uint8Array, key: string, from: number): number | undefined {
    for (let at = this.find(key, from); at !== undefined; at = this.find(key, at + 1)) {
      const state = this.#images[at];
      if (state !== undefined && Buffer.compare(state, image) === 0) return at;
    }
    return undefined;
  }

  /** Says how an image differs from the nearest states. */
  explain(image: Uint8Array, pageSize: number, from: number): string {
    const near = [];
    for (let index = Math.max(0, from - 2); index < this.size; index++) {
      const state = this.#images[index];
      check(state !== undefined, 'a state has an image');
      near.push({ index, pages: differingPages(image, state, pageSize), size: state.length });
    }
    near.sort((a, b) => a.pages.length - b.pages.length);
    return near
      .slice(0, 3)
      .map(({ index, pages, size }) => {
        const list = pages.slice(0, 10).join(',');
        return `state ${index} (${size / pageSize} pages): ${pages.length} differ: ${list}`;
      })
      .join('; ');
  }
}

function differingPages(a: Uint8Array, b: Uint8Array, pageSize: number): number[] {
  const pages = [];
  for (let at = 0; at < Math.max(a.length, b.length); at += pageSize) {
    const one = a.subarray(at, at + pageSize);
    if (Buffer.compare(one, b.subarray(at, at + pageSize)) !== 0) pages.push(at / pageSize + 1);
  }
  return pages;
}
