import type { Command } from '../command.ts';
import { startStopCommand } from '../control/start-stop.ts';

export const command: Command = startStopCommand({
  name: 'stop',
  about:
    'Pauses the replication of a database, after a last sync. It stays stopped until it is started, or the daemon restarts.',
  state: 'stopped',
});
