/** One place in the code. */
export interface ProfileFrame {
  readonly name: string;
  readonly file: string;
  readonly line: number;
}

/** One kind of value that every sample has. */
export interface ValueType {
  readonly type: string;
  readonly unit: string;
}

export interface ProfileSample {
  /** Innermost first. */
  readonly stack: readonly ProfileFrame[];
  /** One per value type. */
  readonly values: readonly number[];
}

export interface Profile {
  readonly types: readonly ValueType[];
  readonly samples: readonly ProfileSample[];
  /** Nanoseconds since the Unix epoch. */
  readonly timeNs: bigint;
  readonly durationNs: bigint;
  readonly periodType: ValueType;
  readonly period: number;
}

/** Writes protocol buffer fields; numbers are non-negative. */
class Message {
  readonly #bytes: number[] = [];

  number(field: number, value: number | bigint): this {
    this.#varint(BigInt(field) << 3n);
    this.#varint(BigInt(value));
    return this;
  }

  bytes(field: number, bytes: ArrayLike<number>): this {
    this.#varint((BigInt(field) << 3n) | 2n);
    this.#varint(BigInt(bytes.length));
    for (let at = 0; at < bytes.length; at++) this.#bytes.push(bytes[at] ?? 0);
    return this;
  }

  message(field: number, message: Message): this {
    return this.bytes(field, message.#bytes);
  }

  packed(field: number, values: readonly number[]): this {
    const inner = new Message();
    for (const value of values) inner.#varint(BigInt(Math.max(0, Math.round(value))));
    return this.message(field, inner);
  }

  toBytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  #varint(value: bigint): void {
    let left = value;
    while (left > 127n) {
      this.#bytes.push(Number(left & 127n) | 128);
      left >>= 7n;
    }
    this.#bytes.push(Number(left));
  }
}

/** Numbers things from 1 on, equal ones alike. */
class Table {
  readonly #ids = new Map<string, number>();

  id(key: string, added: (id: number) => void): number {
    const known = this.#ids.get(key);
    if (known !== undefined) return known;
    const id = this.#ids.size + 1;
    this.#ids.set(key, id);
    added(id);
    return id;
  }
}

/** A profile in the form of `profile.proto`, which pprof tools read. Not compressed. */
export function encodePprof(profile: Profile): Uint8Array {
  const encoder = new TextEncoder();
  const out = new Message();
  const texts: string[] = [''];
  const strings = new Table();
  const text = (value: string): number =>
    value === '' ? 0 : strings.id(value, () => void texts.push(value));
  const valueType = ({ type, unit }: ValueType): Message =>
    new Message().number(1, text(type)).number(2, text(unit));
  const functions = new Table();
  const locations = new Table();
  const tail = new Message();
  const locationOf = ({ file, line, name }: ProfileFrame): number =>
    locations.id(`${file}\0${line}\0${name}`, (id) => {
      const functionId = functions.id(`${file}\0${name}`, (newId) => {
        const entry = new Message().number(1, newId).number(2, text(name)).number(3, text(name));
        tail.message(5, entry.number(4, text(file)));
      });
      const lineEntry = new Message().number(1, functionId).number(2, Math.max(0, line));
      tail.message(4, new Message().number(1, id).message(4, lineEntry));
    });
  for (const type of profile.types) out.message(1, valueType(type));
  for (const { stack, values } of profile.samples) {
    const sample = new Message().packed(1, stack.map(locationOf));
    out.message(2, sample.packed(2, values));
  }
  const period = valueType(profile.periodType);
  const head = out.toBytes();
  const rest = tail.toBytes();
  const end = new Message();
  for (const value of texts) end.bytes(6, encoder.encode(value));
  end.number(9, profile.timeNs).number(10, profile.durationNs);
  end.message(11, period).number(12, profile.period);
  return Buffer.concat([head, rest, end.toBytes()]);
}
