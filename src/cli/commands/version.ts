import { packageVersion } from '../../lib/version.ts';
import { type Command, defineCommand } from '../command.ts';
import { boolFlag } from '../flags.ts';

const COMPATIBLE = 'Litestream 0.5.17';
const SYSTEMS: Readonly<Record<string, string>> = { win32: 'windows' };
const MACHINES: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };

function label(name: string, value: string): string {
  return `${`${name}:`.padEnd(13)}${value}\n`;
}

/** Prints the version. Spec: cli 16. */
export const command: Command = defineCommand({
  name: 'version',
  synopsis: ['version [-verbose]'],
  about: 'Prints the version.',
  flags: { verbose: boolFlag('also print what it is compatible with, and what it runs on') },
  run({ values }, { stdout }) {
    const version = packageVersion();
    const { platform, arch } = process;
    stdout.write(
      values.verbose
        ? label('Version', version) +
            label('Compatible', COMPATIBLE) +
            label('Node.js', process.version) +
            label('OS/Arch', `${SYSTEMS[platform] ?? platform}/${MACHINES[arch] ?? arch}`)
        : `${version}\n`,
    );
    return Promise.resolve(0);
  },
});
