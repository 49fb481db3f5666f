import { dirname } from 'node:path';
import { besideDatabase } from '../../lib/local-file-system.ts';
import type { DatabaseOptions, Ports } from '../options.ts';

/** Metadata beside the database are on its disk: if that hangs, SQLite's own calls do, and nothing is lost by calling it at once. */
export function localPorts({ metaPath, path }: DatabaseOptions, ports: Ports): Ports {
  const fileSystem = besideDatabase(ports.fileSystem);
  if (fileSystem === ports.fileSystem || dirname(metaPath) !== dirname(path)) return ports;
  return { ...ports, fileSystem };
}
