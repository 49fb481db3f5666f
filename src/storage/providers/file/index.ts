export { FileReplicaClient, type FileReplicaOptions } from './client.ts';
