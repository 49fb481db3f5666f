const USER_INFO = /^([^/?#]*:)?\/\/[^/?#]*@/;
const SECRET_PARAMETER =
  /([?&](?:sse-?customer-?key(?:-?md5)?|sig|[\w-]*(?:secret|password|token|signature)[\w-]*)=)[^&#]*/gi;

/** The URL without user name and password, and without the values of parameters that carry secrets. */
export function redactUrl(url: string): string {
  return url.replace(USER_INFO, '$1//').replaceAll(SECRET_PARAMETER, '$1***');
}
