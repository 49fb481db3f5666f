export { FakeS3, type FakeRules } from './fake-s3.ts';
export { s3Location } from './s3-location.ts';
export { s3Bench, type S3Bench } from './s3-bench.ts';
