/** The service's own library for JavaScript, which has no types; a second opinion on signatures. */
declare module 'ali-oss/lib/common/signUtils.js' {
  const library: {
    /** What it would send as `Authorization`: id, secret, region, method, request, bucket, object. */
    authorizationV4(...facts: readonly unknown[]): string;
  };
  export default library;
}
