import { createHash } from 'node:crypto';
import { nkeys } from '@nats-io/transport-node';
import { registerSecret } from '../support/secrets.ts';

type KeyPair = ReturnType<typeof nkeys.createUser>;

const UNLIMITED = {
  subs: -1,
  data: -1,
  payload: -1,
  imports: -1,
  exports: -1,
  wildcards: true,
  conn: -1,
  leaf: -1,
};
const STORAGE = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };

function base64url(text: string | Uint8Array): string {
  return Buffer.from(text).toString('base64url');
}

/** A token as NATS signs them. */
function sign(issuer: KeyPair, subject: KeyPair, name: string, nats: object): string {
  const claims = {
    jti: '',
    iat: 1_700_000_000,
    iss: issuer.getPublicKey(),
    name,
    sub: subject.getPublicKey(),
    nats,
  };
  const jti = createHash('sha256').update(JSON.stringify(claims)).digest('base64url');
  const head = base64url(JSON.stringify({ typ: 'JWT', alg: 'ed25519-nkey' }));
  const signed = `${head}.${base64url(JSON.stringify({ ...claims, jti }))}`;
  return `${signed}.${base64url(issuer.sign(Buffer.from(signed)))}`;
}

export interface JwtSetup {
  /** For the server: an operator, an account with JetStream. */
  readonly config: string;
  /** Of the user. */
  readonly jwt: string;
  readonly seed: string;
  /** Content of a credentials file. */
  readonly creds: string;
}

/** An operator, an account and a user, as the tool nsc makes them. */
export function jwtSetup(): JwtSetup {
  const operator = nkeys.createOperator();
  const [account, system] = [nkeys.createAccount(), nkeys.createAccount()];
  const user = nkeys.createUser();
  const accountClaims = (limits: object): object => ({
    limits: { ...UNLIMITED, ...limits },
    default_permissions: { pub: {}, sub: {} },
    type: 'account',
    version: 2,
  });
  const operatorJwt = sign(operator, operator, 'operator', {
    type: 'operator',
    version: 2,
    system_account: system.getPublicKey(),
  });
  const preload = [
    [account, sign(operator, account, 'account', accountClaims(STORAGE))],
    [system, sign(operator, system, 'system', accountClaims({}))],
  ] as const;
  const jwt = sign(account, user, 'user', {
    pub: {},
    sub: {},
    subs: -1,
    data: -1,
    payload: -1,
    type: 'user',
    version: 2,
  });
  const seed = new TextDecoder().decode(user.getSeed());
  registerSecret('NATS seed', seed);
  registerSecret('NATS JWT', jwt);
  const lines = preload.map(([key, token]) => `  ${key.getPublicKey()}: ${token}\n`);
  return {
    config: `operator: ${operatorJwt}\nresolver: MEMORY\nresolver_preload: {\n${lines.join('')}}`,
    jwt,
    seed,
    creds:
      `-----BEGIN NATS USER JWT-----\n${jwt}\n------END NATS USER JWT------\n\n` +
      `-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`,
  };
}
