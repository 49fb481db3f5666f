export { FakeS3 } from './fake-s3.ts';
export type { FakeRules } from './rules.ts';
export { s3Location } from './s3-location.ts';
export { s3Bench, type S3Bench } from './s3-bench.ts';
