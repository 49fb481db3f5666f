import { readFileSync } from 'node:fs';

/** The bare version of this package: `1.2.3`. */
export function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed === 'object' && parsed !== null && 'version' in parsed)
    return String(parsed.version);
  return '(development build)';
}
