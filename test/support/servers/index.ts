export { startApache } from './apache.ts';
export { startAsyncssh, type PasswordSftpServer } from './asyncssh.ts';
export { startAzurite, type Azurite } from './azurite.ts';
export { startFakeGcsServer, type FakeGcsServer } from './fake-gcs-server.ts';
export {
  answers,
  FaultProxy,
  first,
  type Exchange,
  type Fault,
  type FaultPlan,
} from './fault-proxy.ts';
export { Forwarder } from './forwarder.ts';
export { findServer, needServer, whyMissing, type ServerName } from './installed.ts';
export { startMoto } from './moto.ts';
export { startNatsServer, type NatsOptions, type NatsServer } from './nats-server.ts';
export type { S3Server } from './s3-server.ts';
export { fileScope, type Scope } from './scope.ts';
export { freePort, isListening, ServerProcess } from './server-process.ts';
export { makeKey, replaceHostKey, startSshd, type SftpServer, type SshdOptions } from './sshd.ts';
export { startVersitygw } from './versitygw.ts';
export type { WebdavServer } from './webdav-server.ts';
export { startWsgidav } from './wsgidav.ts';
