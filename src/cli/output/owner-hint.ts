import { dirname } from 'node:path';
import type { FileSystem } from '../../lib/file-system.ts';
import type { Logger } from '../../telemetry/index.ts';

/**
 * Says so if a restored file belongs to root and its folder to somebody else: the application, which probably owns the folder, cannot
 * open it. Spec: failures RST-16.
 */
export async function hintAtOwner(
  fileSystem: FileSystem,
  outputPath: string,
  logger: Logger,
): Promise<void> {
  const file = await fileSystem.stat('restore:stat-output', outputPath);
  const folder = await fileSystem.stat('restore:stat-folder', dirname(outputPath));
  if (file?.uid !== 0 || folder === undefined || folder.uid === 0) return;
  const hint = `give it to the user of its folder: chown ${folder.uid}:${folder.gid} ${outputPath}`;
  logger.log('warn', 'the restored database belongs to root, its folder does not', {
    path: outputPath,
    hint,
  });
}
