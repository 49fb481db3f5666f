import type { CompletedCommand, CompletedFlag } from './model.ts';

function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function escaped(text: string): string {
  return text.replaceAll(/[\\[\]:]/g, String.raw`\$&`);
}

function flagSpec({ help, name, value }: CompletedFlag): string {
  const text = `[${escaped(help)}]`;
  if (value === 'none') return quoted(`-${name}${text}`);
  // `=-`: the value stands in the next word or behind an equals sign.
  return quoted(`-${name}=${text}:value:${value === 'path' ? '_files' : ''}`);
}

function caseLines({ flags, name, words }: CompletedCommand): string {
  const rest =
    words === 'paths' ? "'*:file:_files'" : words.length > 0 ? `'1:word:(${words.join(' ')})'` : '';
  const specs = [...flags.map(flagSpec), rest].filter((spec) => spec !== '');
  const call = specs.length === 0 ? ':' : `_arguments \\\n        ${specs.join(' \\\n        ')}`;
  return `    ${name})\n      ${call}\n      ;;`;
}

/** A script to be sourced, or to lie as `_litestream` in a folder of `fpath`. */
export function zshScript(commands: readonly CompletedCommand[]): string {
  const described = commands.map(({ name, summary }) =>
    quoted(`${name}:${summary.replaceAll(':', String.raw`\:`)}`),
  );
  return `#compdef litestream
_litestream() {
  if (( CURRENT == 2 )); then
    local -a commands
    commands=(
      ${described.join('\n      ')}
    )
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${commands.map(caseLines).join('\n')}
  esac
}
if [[ $funcstack[1] == _litestream ]]; then
  _litestream "$@"
else
  compdef _litestream litestream
fi
`;
}
