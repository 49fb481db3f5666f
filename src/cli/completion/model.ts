import type { CommandRow } from '../command.ts';

/** A flag as shells complete it. */
export interface CompletedFlag {
  readonly name: string;
  readonly help: string;
  /** What follows it. */
  readonly value: 'none' | 'path' | 'other';
}

/** A command as shells complete it. */
export interface CompletedCommand {
  readonly name: string;
  readonly summary: string;
  readonly flags: readonly CompletedFlag[];
  /** What its arguments are: names of files, or some of these words. */
  readonly words: 'paths' | readonly string[];
}

/** Shells for which there is a script. */
export const SHELLS = ['bash', 'fish', 'zsh'] as const;
export type Shell = (typeof SHELLS)[number];

function words(name: string, synopsis: readonly string[]): CompletedCommand['words'] {
  if (name === 'completion') return SHELLS;
  return synopsis.some((line) => /\b(DB_)?PATH\b/.test(line)) ? 'paths' : [];
}

/** Loads every command that is listed. */
export async function completedCommands(
  table: readonly CommandRow[],
): Promise<readonly CompletedCommand[]> {
  const rows = table.filter(({ hidden }) => hidden !== true);
  const commands = await Promise.all(
    rows.map(async ({ name, summary, load }): Promise<CompletedCommand> => {
      const { command } = await load();
      const flags = Object.entries(command.flags).map(([flag, { alone, help, placeholder }]) => {
        const value = alone ? 'none' : placeholder === 'PATH' ? 'path' : 'other';
        return { name: flag, help, value } as const;
      });
      return { name, summary, flags, words: words(name, command.synopsis) };
    }),
  );
  return [...commands, { name: 'help', summary: 'show all commands', flags: [], words: [] }];
}
