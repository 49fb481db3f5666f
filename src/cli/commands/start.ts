import type { Command } from '../command.ts';
import { startStopCommand } from '../control/start-stop.ts';

export const command: Command = startStopCommand({
  name: 'start',
  about: 'Resumes the replication of a database that was stopped.',
  state: 'running',
});
