import { decodeLtxFile } from '../../../../src/formats/ltx/index.ts';
import { check } from '../violation.ts';
import type { Remote } from './remote.ts';
import { reachAll } from './upkeep.ts';
import type { World } from './world.ts';

/** From now on something is missing. */
function noteHarm(world: World, remote: Remote, what: string): void {
  const before = remote.harm;
  const all = before === undefined ? what : `${before.what}, ${what}`;
  remote.harm = { rounds: 0, errors: before?.errors ?? world.writer.journal.errors, what: all };
  remote.scarred = true;
}

/** Somebody deletes an object. */
export function loseObject(world: World, remote: Remote): void {
  const name = pickObject(world, remote);
  if (name === undefined) return;
  noteHarm(world, remote, `${name} lost`);
  remote.store.lose(name);
  remote.damaged.delete(name);
}

/** A bit of an object changes, or its end is missing. */
export function damageObject(world: World, remote: Remote): void {
  const { random } = world;
  const name = pickObject(world, remote);
  const object = name === undefined ? undefined : remote.store.get(name);
  if (name === undefined || object === undefined) return;
  let bytes = Buffer.from(object.bytes);
  const at = random.below(bytes.length);
  if (random.chance(0.7)) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
  else bytes = bytes.subarray(0, at);
  // Compressed data may have several forms: what still says the same is not damaged.
  if (isValid(bytes)) return;
  noteHarm(world, remote, `${name} damaged at ${at}`);
  remote.store.tamper(name, { ...object, bytes });
  remote.damaged.add(name);
}

/** Somebody empties a destination. */
export function wipe(world: World, remote: Remote): void {
  remote.wipe();
  noteHarm(world, remote, 'everything lost');
  if (remote === world.remotes[0]) world.follower.forget();
}

/** Local files get lost while the daemon is down; the next start hears every destination. */
export async function loseMetadata(world: World): Promise<void> {
  const { remotes, writer } = world;
  reachAll(world, writer);
  writer.reset();
  for (const remote of remotes) remote.scarred = true;
  writer.start();
  await world.sync(writer);
}

/** Nothing is left but the database: a new history begins. */
export async function loseEverything(world: World): Promise<void> {
  const { follower, remotes } = world;
  for (const remote of remotes) {
    remote.wipe();
    remote.harm = undefined;
    remote.scarred = true;
  }
  follower.forget();
  await loseMetadata(world);
}

function pickObject({ random }: World, { store }: Remote): string | undefined {
  return store.size === 0 ? undefined : random.pick([...store.keys()].toSorted());
}

function isValid(bytes: Uint8Array): boolean {
  try {
    decodeLtxFile(bytes);
    return true;
  } catch {
    return false;
  }
}

/** Another database whose daemon was given the same destinations. */
export async function rivalStarts(world: World): Promise<void> {
  world.rival ??= world.makeWriter('rival');
  const { remotes, rival } = world;
  for (const remote of remotes) remote.scarred = true;
  rival.start();
  rival.application.transact();
  await world.sync(rival);
}

/** It goes on writing. */
export async function rivalWorks(world: World): Promise<void> {
  const { rival } = world;
  check(rival !== undefined, 'there is a rival');
  rival.application.transact();
  if (!(await world.sync(rival))) return;
  for (const index of world.remotes.keys()) if (rival.running) await world.upload(rival, index);
}

/** Somebody finds out: the rival goes, and the daemon is started again. */
export async function rivalEnds(world: World): Promise<void> {
  const { rival, writer } = world;
  if (rival === undefined) return;
  if (rival.running) await world.stop(rival, false);
  if (writer.running) await world.stop(writer, false);
  reachAll(world, writer);
  writer.start();
  await world.sync(writer);
}
