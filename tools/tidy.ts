/**
 * What a linter cannot say about the repository: `node tools/tidy.ts`. Prints one line per finding; exit status 1 if there is one.
 * Every rule has a name, and test/tools/tidy.test.ts shows each of them firing.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';

/** One thing to mend. */
export interface Finding {
  readonly rule: string;
  readonly path: string;
  readonly text: string;
}

interface File {
  /** Relative to the root, with `/`. */
  readonly path: string;
  readonly size: number;
  readonly text: string;
}
type Rule = (files: readonly File[]) => Finding[];

const IGNORED = new Set(['node_modules', '.git', 'dist', 'coverage', '.cache']);
const TEXT = /\.(ts|mjs|js|json|md|sh|yml|py)$|^\.(ci|githooks)\/|^bin\/|^LICENSE$/;
const FILE_SIZE_MAX = 1 << 20;
/** Lines of code (tests not counted) from which on a folder of src/ explains itself in a DESIGN.md. */
const DESIGN_LINES_MIN = 2500;
/** Folders of src/ that are imported file by file. */
const WITHOUT_INDEX = new Set(['lib', 'cli']);

const isTest = (path: string): boolean => path.endsWith('.test.ts') || path.startsWith('test/');
const isSource = (path: string): boolean =>
  path.startsWith('src/') && path.endsWith('.ts') && !isTest(path);

function walk(root: string, below = ''): File[] {
  return readdirSync(join(root, below), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(below, entry.name);
    if (IGNORED.has(entry.name)) return [];
    if (entry.isDirectory()) return walk(root, path);
    if (!entry.isFile()) return [];
    const { size } = statSync(join(root, path));
    const readable = TEXT.test(path) && size <= FILE_SIZE_MAX;
    return [{ path, size, text: readable ? readFileSync(join(root, path), 'utf8') : '' }];
  });
}

/** A rule that looks for a pattern line by line in the files for which `where` holds. */
function banned(
  rule: string,
  where: (path: string) => boolean,
  pattern: RegExp,
  text: string,
): Rule {
  return (files) =>
    files
      .filter((file) => where(file.path))
      .flatMap(({ path, text: content }) =>
        content
          .split('\n')
          .flatMap((line, at) =>
            pattern.test(line) ? [{ rule, path: `${path}:${at + 1}`, text }] : [],
          ),
      );
}

// The words are put together, so that this file and its test do not find themselves.
const leftovers = banned(
  'left-over',
  (path) => /\.(ts|mjs|md)$/.test(path),
  new RegExp(`\\b(${['FIX' + 'ME', 'X' + 'XX'].join('|')})\\b|\\bdebug` + `ger;`),
  'a left-over: do it, or name an issue in a TODO',
);
const only = banned(
  'only',
  (path) => path.endsWith('.test.ts'),
  new RegExp(`\\b(test|it|describe)\\.on` + `ly\\b|\\bon` + `ly: true`),
  'narrows the run to one test',
);
const unsafe = banned(
  'alloc-unsafe',
  isSource,
  /allocUnsafe/,
  'uninitialised memory must never reach a backup',
);
const machine = banned(
  'machine-path',
  (path) => TEXT.test(path) && !path.startsWith('test/vectors/') && path !== 'package-lock.json',
  new RegExp(`(^|[^\\w.])/(wor` + `k|ro` + `ot|far` + `m)/`),
  'a path of one machine',
);

const indexFiles: Rule = (files) => {
  const paths = new Set(files.map((file) => file.path));
  const sources = files.filter((file) => isSource(file.path)).map((file) => file.path);
  const folders = new Set(
    sources.map((path) => /^src\/(?:formats\/|storage\/providers\/)?[^/]+(?=\/)/.exec(path)?.[0]),
  );
  const stray = sources.filter((path) => /^src\/[^/]+$/.test(path) && path !== 'src/index.ts');
  return [
    ...[...folders]
      .filter((folder) => folder !== undefined)
      .filter((folder) => !WITHOUT_INDEX.has(posix.basename(folder)))
      .filter((folder) => !/^src\/formats$|providers$/.test(folder))
      .filter((folder) => !paths.has(`${folder}/index.ts`))
      .map((folder) => ({ rule: 'index', path: folder, text: 'has no index.ts' })),
    ...stray.map((path) => ({ rule: 'index', path, text: 'only index.ts lies in src/ itself' })),
  ];
};

const designs: Rule = (files) => {
  const paths = new Set(files.map((file) => file.path));
  const lines = new Map<string, number>();
  for (const { path, text } of files.filter((file) => isSource(file.path))) {
    const folder = /^src\/(?:formats\/)?[^/]+(?=\/)/.exec(path)?.[0];
    if (folder === undefined || WITHOUT_INDEX.has(posix.basename(folder))) continue;
    if (!path.endsWith('-wasm.ts'))
      lines.set(folder, (lines.get(folder) ?? 0) + text.split('\n').length);
  }
  return [...lines]
    .filter(([folder, count]) => count >= DESIGN_LINES_MIN && !paths.has(`${folder}/DESIGN.md`))
    .map(([folder, count]) => ({
      rule: 'design',
      path: folder,
      text: `has ${count} lines and no DESIGN.md`,
    }));
};

// `%C3` is a letter in a URL.
const NUMBER = /(?<!%)\b[CEI]\d+\b/g;

/** Invariants are declared at the start of a table row, a list item or a heading, and named by tests of the folder or in test/. */
const invariants: Rule = (files) => {
  const designed = files.filter((file) => /^src\/.*DESIGN\.md$/.test(file.path));
  return designed.flatMap(({ path, text }) => {
    const folder = `${posix.dirname(path)}/`;
    const declared = new Set(
      [...text.matchAll(/^(?:\|\s*|[-*]\s+|#+\s+)(?:\*\*)?([CEI]\d+)\b/gm)].map(
        (found) => found[1],
      ),
    );
    const mentions = (inside: (path: string) => boolean): Set<string> =>
      new Set(
        files
          .filter((file) => file.path.endsWith('.test.ts') && inside(file.path))
          .flatMap((file) => file.text.match(NUMBER) ?? []),
      );
    const own = mentions((test) => test.startsWith(folder));
    const all = mentions((test) => test.startsWith(folder) || test.startsWith('test/'));
    return [
      ...[...declared]
        .filter((number) => number !== undefined && !all.has(number))
        .map((number) => ({
          rule: 'invariant',
          path,
          text: `no test names ${number ?? ''}`,
        })),
      ...[...own]
        .filter((number) => !declared.has(number))
        .map((number) => ({
          rule: 'invariant',
          path,
          text: `a test names ${number}, which is not declared here`,
        })),
    ];
  });
};

const errorCodes: Rule = (files) => {
  const source = files.find((file) => file.path === 'src/lib/errors.ts')?.text ?? '';
  const page = files.find((file) => file.path === 'docs/errors.md')?.text ?? '';
  const codes = new Set([...source.matchAll(/^ {2}\| '(ERR_\w+)'/gm)].map((found) => found[1]));
  const headings = new Set([...page.matchAll(/^#+ `(ERR_\w+)`/gm)].map((found) => found[1]));
  const finding = (code: string | undefined, text: string): Finding => ({
    rule: 'error-code',
    path: 'docs/errors.md',
    text: `${code ?? ''} ${text}`,
  });
  return [
    ...[...codes]
      .filter((code) => !headings.has(code))
      .map((code) => finding(code, 'has no heading')),
    ...[...headings]
      .filter((code) => !codes.has(code))
      .map((code) => finding(code, 'is not an error code')),
  ];
};

const bigFiles: Rule = (files) =>
  files
    .filter(({ path, size }) => size > FILE_SIZE_MAX && !path.startsWith('test/vectors/'))
    .map(({ path, size }) => ({ rule: 'size', path, text: `${size} bytes; 1 MiB is the limit` }));

/** Markdown without its code, in which `#` and brackets mean other things. */
function prose(markdown: string): string {
  return markdown.replaceAll(/^```.*?^```/gms, '').replaceAll(/`[^`\n]*`/g, '');
}

const titles: Rule = (files) =>
  files
    .filter(({ path }) => path.endsWith('.md') && !path.startsWith('test/vectors/'))
    .map(({ path, text }) => ({ path, count: prose(text).match(/^# /gm)?.length ?? 0 }))
    .filter(({ count }) => count !== 1)
    .map(({ path, count }) => ({ rule: 'title', path, text: `has ${count} titles, not one` }));

function links(root: string): Rule {
  return (files) =>
    files
      .filter(({ path }) => path.endsWith('.md'))
      .flatMap(({ path, text }) =>
        [...prose(text).matchAll(/\]\(([^)\s]+)\)/g)]
          .map((found) => found[1] ?? '')
          .filter((target) => !/^(\w+:|#)/.test(target))
          .filter((target) => !existsSync(join(root, dirname(path), target.replace(/#.*/, ''))))
          .map((target) => ({ rule: 'link', path, text: `leads nowhere: ${target}` })),
      );
}

const adrs: Rule = (files) => {
  const pages = files.filter(({ path }) => /^docs\/adr\/\d/.test(path));
  return pages
    .toSorted((a, b) => a.path.localeCompare(b.path))
    .flatMap(({ path, text }, at) => {
      const number = String(at + 1).padStart(4, '0');
      const named = posix.basename(path).startsWith(`${number}-`);
      const titled = text.startsWith(`# ${number} `);
      const status = /^Status: (accepted|superseded by \d{4})/m.test(text);
      const wrong = [
        named ? '' : `is number ${number} in order, but not by name`,
        titled ? '' : `does not begin with "# ${number} "`,
        status ? '' : 'has no line "Status: accepted" or "Status: superseded by NNNN"',
      ];
      return wrong.filter(Boolean).map((why) => ({ rule: 'adr', path, text: why }));
    });
};

/** Everything that is untidy below `root`. */
export function checkTidy(root: string): Finding[] {
  const files = walk(root);
  const lines = [leftovers, only, unsafe, machine];
  const pages = [errorCodes, titles, links(root), adrs];
  const rules = [...lines, indexFiles, designs, invariants, bigFiles, ...pages];
  return rules.flatMap((rule) => rule(files));
}

if (import.meta.main) {
  const findings = checkTidy(dirname(import.meta.dirname));
  for (const { rule, path, text } of findings) process.stdout.write(`${path}: ${text} (${rule})\n`);
  process.exitCode = findings.length === 0 ? 0 : 1;
}
