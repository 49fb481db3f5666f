import { bashScript } from '../completion/bash.ts';
import { fishScript } from '../completion/fish.ts';
import {
  type CompletedCommand,
  completedCommands,
  type Shell,
  SHELLS,
} from '../completion/model.ts';
import { zshScript } from '../completion/zsh.ts';
import {
  type Command,
  type CommandRow,
  defineCommand,
  limitPositionals,
  usageError,
} from '../command.ts';

const SCRIPTS: Readonly<Record<Shell, (commands: readonly CompletedCommand[]) => string>> = {
  bash: bashScript,
  fish: fishScript,
  zsh: zshScript,
};

/** Prints what makes a shell complete commands and flags. */
export function completionCommand(table: readonly CommandRow[]): Command {
  return defineCommand({
    name: 'completion',
    synopsis: ['completion bash|fish|zsh'],
    about: `Prints a script that makes a shell complete commands and flags. To be had at every start:

    bash    litestream completion bash > ~/.local/share/bash-completion/completions/litestream
    fish    litestream completion fish > ~/.config/fish/completions/litestream.fish
    zsh     source <(litestream completion zsh)    in ~/.zshrc, behind compinit`,
    flags: {},
    async run({ positionals }, { stdout }) {
      limitPositionals(positionals, 1);
      const [wanted = ''] = positionals;
      const shell = SHELLS.find((name) => name === wanted);
      if (shell === undefined) {
        throw usageError(
          wanted === '' ? 'shell required' : `unknown shell: ${wanted}`,
          `litestream completion ${SHELLS.join('|')}`,
        );
      }
      stdout.write(SCRIPTS[shell](await completedCommands(table)));
      return 0;
    },
  });
}
