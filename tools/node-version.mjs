// Plain JavaScript, so that it also starts where Node is too old to run the TypeScript tools: every script begins with it.
// `npm ci` brings the right Node along as a package; with `--ignore-scripts` it silently is not there.
const NEEDED = [24, 15];
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < NEEDED[0] || (major === NEEDED[0] && minor < NEEDED[1])) {
  console.error(
    `Error: Node.js ${NEEDED.join('.')} or newer is needed, this is ${process.versions.node}.`,
  );
  console.error('Try: npm ci   (without --ignore-scripts; it brings the right Node.js along)');
  process.exit(1);
}
