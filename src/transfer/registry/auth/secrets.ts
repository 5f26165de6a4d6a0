/**
 * Removes secrets from the words of servers and helpers before they become part of a message. Servers and
 * helpers may repeat what they were sent. For URLs use `redactUrl` (../redact.ts).
 */
import { basicAuth, type Credentials } from './credentials.ts';

const HIDDEN = 'REDACTED';

/**
 * Values of Authorization, and JSON and form fields that hold secrets. Linear: no repetition within a
 * repetition.
 */
const SHAPES: readonly RegExp[] = [
  /\b((?:bearer|basic)\s)[A-Za-z0-9._~+/=-]{12,}/gi,
  /("(?:[a-z_]{0,32}token|password|secret|auth)"\s{0,8}:\s{0,8}")[^"\\]{0,65536}/gi,
  /\b((?:access_token|refresh_token|identitytoken|token|password|secret)=)[^&\s"]{1,65536}/gi,
];

/** Returns the secrets of the credentials, in the forms in which they are sent. */
export function secretsOf(credentials: Credentials | undefined): string[] {
  if (!credentials) return [];
  const { password, identityToken, registryToken } = credentials;
  const plain = [password, identityToken, registryToken].filter((secret) => secret !== undefined);
  const basic = password === undefined ? [] : [basicAuth(credentials)];
  return [...plain, ...plain.map(encodeURIComponent), ...basic].filter((secret) => secret !== '');
}

/** Removes these credentials' secrets, and anything that looks like a secret, from the text. */
export function hideSecrets(text: string, credentials?: Credentials): string {
  let clean = text;
  // Longest first: one secret may be part of another.
  for (const secret of secretsOf(credentials).sort((a, b) => b.length - a.length))
    clean = clean.replaceAll(secret, HIDDEN);
  for (const shape of SHAPES) clean = clean.replace(shape, `$1${HIDDEN}`);
  return clean;
}
