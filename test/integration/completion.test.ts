import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { OURS, runProgram } from '../support/program.ts';
import { tempDir } from '../support/temp-dir.ts';

/** Path of the script for a shell, in a folder with some files to complete. */
function prepare(t: TestContext, shell: string): { folder: string; script: string } {
  const folder = tempDir(t);
  const { status, stdout, stderr } = runProgram(OURS, 'completion', shell);
  assert.equal(status, 0, stderr);
  const script = join(folder, `script.${shell}`);
  writeFileSync(script, stdout);
  mkdirSync(join(folder, 'data'));
  for (const name of ['app one.db', 'app-two.db', 'litestream.yml']) {
    writeFileSync(join(folder, 'data', name), '');
  }
  return { folder: join(folder, 'data'), script };
}

function shell(name: string, args: readonly string[], cwd: string, input?: string): string {
  const env = { PATH: process.env['PATH'] ?? '', HOME: cwd, TERM: 'dumb' };
  const done = spawnSync(name, args, { cwd, env, input, encoding: 'utf8', timeout: 60_000 });
  if (done.error !== undefined) throw done.error;
  assert.equal(done.stderr, '', done.stderr);
  assert.equal(done.status, 0);
  return done.stdout;
}

/** False with the reason where a shell is not there. */
function missing(name: string): string | false {
  const { error } = spawnSync(name, ['-c', 'exit 0']);
  return error === undefined ? false : `${name}: not installed`;
}

/** Main commands that the help names. */
function commandNames(): string[] {
  const { stdout } = runProgram(OURS, 'help');
  return [...stdout.matchAll(/^ {4}([a-z-]+) /gm)].map(([, name = '']) => name);
}

function flagNames(command: string): string[] {
  const { stdout } = runProgram(OURS, command, '-h');
  return [...stdout.matchAll(/^ {4}(-[a-z-]+)/gm)].map(([, name = '']) => name);
}

/** Bash completes like this: an array of words, with `=` as a word of its own, and the place of the cursor. */
function bash(scene: { folder: string; script: string }, ...line: string[]): string[] {
  const code = `
    set -u
    source "$1"; shift
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    _litestream
    printf '%s\\n' \${COMPREPLY[@]+"\${COMPREPLY[@]}"}`;
  const args = ['--norc', '-c', code, 'bash', scene.script, 'litestream', ...line];
  return shell('bash', args, scene.folder)
    .split('\n')
    .filter((word) => word !== '')
    .toSorted();
}

describe('completion', () => {
  it('bash completes commands, flags, files and shells', { skip: missing('bash') }, (t) => {
    const scene = prepare(t, 'bash');
    assert.deepEqual(bash(scene, ''), [...commandNames(), 'help'].toSorted());
    assert.deepEqual(bash(scene, 'rese'), ['reset']);
    assert.deepEqual(bash(scene, 'restore', '-'), flagNames('restore').toSorted());
    assert.deepEqual(bash(scene, 'restore', '-i'), [
      '-if-db-not-exists',
      '-if-replica-exists',
      '-integrity-check',
    ]);
    assert.deepEqual(bash(scene, 'status', 'app'), ['app one.db', 'app-two.db']);
    assert.deepEqual(bash(scene, 'status', '-config', 'l'), ['litestream.yml']);
    assert.deepEqual(bash(scene, 'databases', '--config', 'l'), ['litestream.yml']);
    assert.deepEqual(bash(scene, 'databases', '-config', '=', 'l'), ['litestream.yml']);
    assert.deepEqual(bash(scene, 'databases', '-config', '='), [
      'app one.db',
      'app-two.db',
      'litestream.yml',
    ]);
    assert.deepEqual(bash(scene, 'restore', '-txid', 'app'), []);
    assert.deepEqual(bash(scene, 'databases', ''), []);
    assert.deepEqual(bash(scene, 'completion', ''), ['bash', 'fish', 'zsh']);
    assert.deepEqual(bash(scene, 'nosuch', ''), []);
  });

  it('fish completes commands, flags, files and shells', { skip: missing('fish') }, (t) => {
    const { folder, script } = prepare(t, 'fish');
    const complete = (line: string): string[] => {
      const code = `source $argv[1]; complete -C $argv[2]`;
      const text = shell('fish', ['--no-config', '-c', code, script, line], folder);
      const words = text.split('\n').map((row) => row.split('\t', 1)[0] ?? '');
      return words.filter((word) => word !== '').toSorted();
    };
    assert.deepEqual(complete('litestream '), [...commandNames(), 'help'].toSorted());
    for (const flag of flagNames('restore')) {
      assert.ok(complete('litestream restore -').includes(flag), flag);
    }
    assert.deepEqual(complete('litestream databases -js'), ['-json']);
    assert.deepEqual(complete('litestream databases -config li'), ['litestream.yml']);
    assert.deepEqual(complete('litestream status app-'), ['app-two.db']);
    assert.deepEqual(complete('litestream completion '), ['bash', 'fish', 'zsh']);
    assert.deepEqual(complete('litestream databases li'), []);
  });

  it('zsh completes commands, flags and files', { skip: missing('zsh') }, (t) => {
    const { folder, script } = prepare(t, 'zsh');
    // Completion needs a terminal's line editor, which `zpty` provides.
    const code = `
      zmodload zsh/zpty
      zpty shell zsh -f -i
      zpty -w shell 'PS1=; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u -d ${folder}/.dump; source ${script}'
      zpty -w shell 'zstyle ":completion:*" list-colors ""; LISTMAX=1000; setopt no_auto_menu list_packed; bindkey "^I" complete-word; null-line() { print -r -- "line=[$BUFFER]"; }; zle -N null-line; bindkey "^X" null-line; print ready'
      zpty -r shell line '*ready*ready*'
      for text in "$@"; do
        zpty -w -n shell $'\\C-u'"$text"$'\\t\\C-x'
        zpty -r shell line '*line=\\[*\\]*'
        print -r -- "\${\${line##*line=\\[}%%\\]*}"
      done
      zpty -d shell`;
    const ask = [
      'litestream rese',
      'litestream databases -js',
      'litestream status app-',
      'litestream databases -config lite',
      'litestream completion fi',
    ];
    const lines = shell('zsh', ['-f', '-c', code, 'zsh', ...ask], folder)
      .split('\n')
      .map((line) => line.trim());
    assert.deepEqual(
      lines.filter((line) => line !== ''),
      [
        'litestream reset',
        'litestream databases -json',
        'litestream status app-two.db',
        'litestream databases -config litestream.yml',
        'litestream completion fish',
      ],
    );
  });

  it('names the shells it knows', () => {
    const { status, stderr } = runProgram(OURS, 'completion', 'ksh');
    assert.equal(status, 1);
    assert.equal(stderr, 'Error: unknown shell: ksh\nTry: litestream completion bash|fish|zsh\n');
  });
});
