import type { CompletedCommand } from './model.ts';

function names(command: CompletedCommand, value?: string): string {
  const flags = command.flags.filter((flag) => value === undefined || flag.value === value);
  return flags.map(({ name }) => `-${name}`).join(' ');
}

function caseLine(command: CompletedCommand): string {
  const { name, words } = command;
  const texts = [
    `flags='${names(command)}'`,
    `paths=' ${names(command, 'path')} '`,
    `others=' ${names(command, 'other')} '`,
    words === 'paths' ? 'files=1' : `words='${words.join(' ')}'`,
  ];
  return `    ${name}) ${texts.join(' ')} ;;`;
}

/** A script for bash 3.2 and newer. Words and file names may hold blanks. */
export function bashScript(commands: readonly CompletedCommand[]): string {
  return `# bash completion for litestream
_litestream() {
  local IFS=$' \\t\\n'
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]}
  local flags= paths= others= words= files=
  COMPREPLY=()
  # -flag=value is three words: -flag, = and value.
  if [ "$cur" = = ]; then
    cur=
  elif [ "$prev" = = ] && [ "$COMP_CWORD" -gt 2 ]; then
    prev=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  case $prev in --*) prev=\${prev#-} ;; esac
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '${commands.map(({ name }) => name).join(' ')}' -- "$cur"))
    return
  fi
  case \${COMP_WORDS[1]} in
${commands.map(caseLine).join('\n')}
  esac
  case $others in *" $prev "*) return ;; esac
  IFS=$'\\n'
  case $paths in
    *" $prev "*) COMPREPLY=($(compgen -f -- "$cur")); return ;;
  esac
  case $cur in
    -*) IFS=$' \\t\\n'; COMPREPLY=($(compgen -W "$flags" -- "$cur")); return ;;
  esac
  if [ -n "$files" ]; then
    COMPREPLY=($(compgen -f -- "$cur"))
  else
    IFS=$' \\t\\n'
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  fi
}
complete -o filenames -F _litestream litestream
`;
}
