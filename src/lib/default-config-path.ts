/** The path that is read when none is given, before it is made absolute. Spec: config 1. */
export function defaultConfigPath(
  environment: Readonly<Record<string, string | undefined>>,
): string {
  const fromEnvironment = environment['LITESTREAM_CONFIG'] ?? '';
  if (fromEnvironment !== '') return fromEnvironment;
  return process.platform === 'win32' ? 'C:\\Litestream\\litestream.yml' : '/etc/litestream.yml';
}
