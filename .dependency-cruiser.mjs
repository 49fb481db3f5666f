// Who may import whom. This table is the architecture; test/tools/graph.test.ts proves that every rule fires.
import swcVisitor from '@swc/core/Visitor.js';

// swc's visitor does not know `using` declarations and throws at the first one.
const { Visitor } = swcVisitor;
const visitStatement = Visitor.prototype.visitStatement;
Visitor.prototype.visitStatement = function (node) {
  if (node.type !== 'UsingDeclaration') return visitStatement.call(this, node);
  node.decls = this.visitVariableDeclarators(node.decls);
  return node;
};

const base = ['storage', 'formats', 'telemetry', 'lib'];
const graph = {
  lib: [],
  telemetry: ['lib'],
  kernels: ['lib'],
  formats: ['kernels', 'lib'],
  storage: ['formats', 'telemetry', 'lib'],
  codec: ['formats', 'kernels', 'lib'],
  sqlite: ['formats', 'telemetry', 'lib'],
  compaction: ['codec', ...base],
  // The kernels directly: a thread that decodes need not load what encodes.
  restore: ['sqlite', 'codec', 'kernels', ...base],
  verify: ['restore', 'sqlite', 'codec', ...base],
  engine: ['verify', 'compaction', 'restore', 'sqlite', 'codec', ...base],
  vfs: ['compaction', 'restore', 'codec', ...base],
  config: ['storage', 'lib'],
  app: ['engine', 'restore', 'config', ...base],
  server: ['engine', 'telemetry', 'lib'],
  mcp: ['telemetry', 'lib'],
  cli: ['app', 'server', 'mcp', 'config', 'engine', 'verify', 'restore', 'sqlite', ...base],
  testing: ['engine', 'restore', ...base],
};
// Each third-party package has exactly one home.
const homes = {
  'src/storage/providers/s3': '@(aws-sdk|smithy)/',
  'src/storage/providers/gs': 'google-auth-library',
  'src/storage/providers/abs': '@azure/',
  'src/storage/providers/sftp': 'ssh2',
  'src/storage/providers/nats': '@nats-io/',
  'src/storage/xml': 'fast-xml-parser',
  'src/config': 'yaml',
  'src/server': 'prom-client',
  'src/mcp': '@modelcontextprotocol/',
};
const tests = '[.]test[.]ts$';
const packages = Object.values(homes).flatMap((pkg) => [`^${pkg}`, `node_modules/${pkg}`]);
const ban = (name, from, to) => ({ name, severity: 'error', from, to });
export default {
  forbidden: [
    ...Object.entries(graph).map(([from, to]) =>
      ban(
        `layer-${from}`,
        { path: `^src/${from}/`, pathNot: tests },
        { path: '^src/', pathNot: `^src/(${[from, ...to].join('|')})/` },
      ),
    ),
    ...Object.entries(homes).map(([home, pkg]) =>
      ban(
        `home-of-${pkg}`,
        { path: '^src/', pathNot: [`^${home}/`, tests] },
        { path: [`^${pkg}`, `node_modules/${pkg}`] },
      ),
    ),
    // A folder that the table does not name. Only index.ts lies in src/ itself.
    ban(
      'no-folder',
      { path: '^src/', pathNot: [`^src/(${Object.keys(graph).join('|')})/`, '^src/index[.]ts$'] },
      {},
    ),
    // A package that the table does not name.
    ban(
      'no-home',
      { path: '^src/', pathNot: tests },
      {
        dependencyTypes: [
          'npm',
          'npm-dev',
          'npm-optional',
          'npm-peer',
          'npm-no-pkg',
          'npm-unknown',
          'unknown',
          'undetermined',
        ],
        pathNot: packages,
      },
    ),
    ban('no-circular', {}, { circular: true }),
    ban(
      'not-to-testing',
      { path: '^src/', pathNot: ['^src/testing/', tests] },
      { path: '^src/testing/' },
    ),
    ban(
      'front-door',
      { path: '^src/([^/]+)/', pathNot: tests },
      {
        path: '^src/[^/]+/.+',
        pathNot: ['^src/$1/', '^src/lib/', '^src/(formats/)?[^/]+/index[.]ts$'],
      },
    ),
    ban(
      'formats-siblings',
      { path: '^src/formats/([^/]+)/', pathNot: tests },
      { path: '^src/formats/(?!$1/)' },
    ),
    ban(
      'providers-isolated',
      { path: '^src/storage/providers/([^/]+)/', pathNot: tests },
      { path: '^src/storage/providers/(?!$1/)' },
    ),
    ban(
      'providers-lazy',
      { path: '^src/', pathNot: ['^src/storage/providers/', tests] },
      { path: '^src/storage/providers/', dependencyTypesNot: ['dynamic-import'] },
    ),
    ban(
      'pure-layers',
      { path: '^src/(formats|kernels)/', pathNot: tests },
      { dependencyTypes: ['core'] },
    ),
    ban(
      'one-door-to-sqlite',
      { path: '^src/', pathNot: ['^src/sqlite/', tests] },
      { path: '^(node:)?sqlite$' },
    ),
  ],
  options: {
    parser: 'swc',
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
  },
};
