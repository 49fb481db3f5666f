import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { registerSecret } from './secrets.ts';

function openssl(folder: string, ...args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile('openssl', args, { cwd: folder }, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

/** PEM files of an authority, a server at 127.0.0.1 and localhost, and a client; each key beside its certificate. */
export interface Certificates {
  readonly authority: string;
  readonly serverCert: string;
  readonly serverKey: string;
  readonly clientCert: string;
  readonly clientKey: string;
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];

/** Makes certificates in a folder with the `openssl` program; undefined where that is not installed. */
export async function makeCertificates(folder: string): Promise<Certificates | undefined> {
  const path = (name: string): string => join(folder, name);
  try {
    await openssl(folder, 'version');
  } catch {
    return undefined;
  }
  await openssl(
    folder,
    'req',
    '-x509',
    ...KEY,
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
    '-subj',
    '/CN=test authority',
  );
  await writeFile(path('server.ext'), 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
  await writeFile(path('client.ext'), 'extendedKeyUsage=clientAuth\n');
  for (const name of ['server', 'client']) {
    await openssl(
      folder,
      'req',
      ...KEY,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
      '-subj',
      `/CN=${name}`,
    );
    const signing = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2'];
    const files = ['-in', `${name}.csr`, '-out', `${name}.pem`, '-extfile', `${name}.ext`];
    await openssl(folder, 'x509', '-req', ...signing, ...files);
  }
  for (const name of ['ca', 'server', 'client']) {
    registerSecret(`key of the ${name}`, await readFile(path(`${name}.key`), 'utf8'));
  }
  return {
    authority: path('ca.pem'),
    serverCert: path('server.pem'),
    serverKey: path('server.key'),
    clientCert: path('client.pem'),
    clientKey: path('client.key'),
  };
}
