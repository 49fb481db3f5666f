import type { CompletedCommand, CompletedFlag } from './model.ts';

function quoted(text: string): string {
  return `'${text.replaceAll(/[\\']/g, String.raw`\$&`)}'`;
}

const KINDS: Readonly<Record<CompletedFlag['value'], string>> = {
  none: '',
  path: ' -r -F',
  other: ' -x',
};

function commandLines({ flags, name, summary, words }: CompletedCommand): string[] {
  const seen = quoted(`__fish_seen_subcommand_from ${name}`);
  const lines = [
    `complete -c litestream -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}`,
    ...flags.map(
      (flag) =>
        `complete -c litestream -n ${seen} -o ${flag.name}${KINDS[flag.value]} -d ${quoted(flag.help)}`,
    ),
  ];
  if (words === 'paths') lines.push(`complete -c litestream -n ${seen} -F`);
  else if (words.length > 0)
    lines.push(`complete -c litestream -n ${seen} -a ${quoted(words.join(' '))}`);
  return lines;
}

/** A script for `~/.config/fish/completions/litestream.fish`. */
export function fishScript(commands: readonly CompletedCommand[]): string {
  return [
    '# fish completion for litestream',
    'complete -c litestream -f',
    ...commands.flatMap(commandLines),
    '',
  ].join('\n');
}
