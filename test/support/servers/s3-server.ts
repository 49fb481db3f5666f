import type { ServerProcess } from './server-process.ts';

/** How to reach an S3 server. The bucket exists. */
export interface S3Server {
  readonly server: ServerProcess;
  /** On 127.0.0.1, without TLS. */
  readonly port: number;
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Folder with the objects as files, if there is one. */
  readonly root?: string;
}
