import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import type { SftpLocation } from '../../locations.ts';
import { algorithmsFor, formatHostKey, parseHostKeys } from './host-key.ts';
import { hostOf, sftpSettings } from './settings.ts';

const LOCATION: SftpLocation = {
  type: 'sftp',
  host: 'h',
  user: 'u',
  password: '',
  keyPath: '',
  keyPassphrase: '',
  hostKey: '',
  path: '/p',
  concurrentWrites: true,
};

/** A key as on the wire: its type, then something. */
function key(type: string, size = 32): string {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(type.length);
  return Buffer.concat([length, Buffer.from(type), Buffer.alloc(size, 7)]).toString('base64');
}

test('a host may have a port, and be an address of either kind', () => {
  const cases: Readonly<Record<string, string>> = {
    h: 'h:22',
    'h:2022': 'h:2022',
    '10.0.0.1': '10.0.0.1:22',
    '[::1]': '[::1]:22',
    '[::1]:2022': '[::1]:2022',
    '::1': '[::1]:22',
  };
  for (const [host, expected] of Object.entries(cases))
    assert.equal(hostOf(sftpSettings({ ...LOCATION, host }, {})), expected, host);
});

test('a host that cannot be read is an error of the configuration', () => {
  for (const host of ['h:0', 'h:65536', 'h:x', 'a:b:c', ''])
    assert.throws(() => sftpSettings({ ...LOCATION, host }, {}), {
      code: 'ERR_CONFIG',
      message: `invalid sftp host "${host}"`,
    });
});

test('the agent is asked only without password and key', () => {
  const environment = { SSH_AUTH_SOCK: '/agent' };
  const agent = (changes: Partial<SftpLocation>): string | undefined =>
    sftpSettings({ ...LOCATION, ...changes }, environment).agentSocket;
  assert.equal(agent({}), '/agent');
  assert.equal(agent({ password: 'p' }), undefined);
  assert.equal(agent({ keyPath: '/k' }), undefined);
  assert.equal(sftpSettings(LOCATION, { SSH_AUTH_SOCK: '' }).agentSocket, undefined);
});

test('host keys are read as authorized_keys and ssh-keyscan write them', () => {
  const blob = key('ssh-ed25519');
  const line = `ssh-ed25519 ${blob}`;
  for (const text of [line, `${line} me@home`, `example.org ${line}`, `\n# old\n  ${line}  \n`]) {
    const [found, ...more] = parseHostKeys(text);
    assert.deepEqual(more, []);
    assert.equal(found && formatHostKey(found.blob), line);
  }
  assert.deepEqual(parseHostKeys(''), []);
});

test('a host key that cannot be read is an error of the configuration', () => {
  const lines = [
    'nonsense',
    'ssh-ed25519',
    'ssh-ed25519 %%%',
    `ssh-ed25519 ${key('ssh-rsa')}`,
    `ssh-dss ${key('ssh-dss')}`,
    'ssh-ed25519 AAAA',
    'ssh-ed25519 /////w==',
  ];
  for (const line of lines)
    assert.throws(
      () => sftpSettings({ ...LOCATION, hostKey: line }, {}),
      { code: 'ERR_CONFIG', message: /^cannot parse sftp host key: / },
      line,
    );
});

test('a real key is read', () => {
  const { publicKey } = generateKeyPairSync('ed25519');
  const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  const head = Buffer.from('0000000b7373682d6564323535313900000020', 'hex');
  const [found] = parseHostKeys(`ssh-ed25519 ${Buffer.concat([head, raw]).toString('base64')}`);
  assert.equal(found?.type, 'ssh-ed25519');
});

test('BKD-24 the server is asked for keys of the pinned kinds', () => {
  const pins = parseHostKeys(
    `ssh-rsa ${key('ssh-rsa')}\necdsa-sha2-nistp256 ${key('ecdsa-sha2-nistp256')}\nssh-rsa ${key('ssh-rsa', 9)}`,
  );
  assert.deepEqual(algorithmsFor(pins), [
    'rsa-sha2-512',
    'rsa-sha2-256',
    'ssh-rsa',
    'ecdsa-sha2-nistp256',
  ]);
});
