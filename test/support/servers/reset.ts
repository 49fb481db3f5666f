import type { Socket } from 'node:net';

/**
 * Resets a connection. A socket whose end is under way is only closed: Node cannot reset it then (EINVAL), forgets to close it and
 * never exits.
 */
export function reset(socket: Socket): void {
  if (socket.writableEnded || socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}
