/**
 * Parses the credentials that a client of the service sends with a request: `X-Registry-Auth` is the JSON of
 * docker's AuthConfig in base64url. `X-Registry-Config` of a build is a JSON object of them, by registry.
 * Mirrors moby/moby: api/types/registry/authconfig.go.
 */
import { LayerstackError } from '../../../core/errors.ts';
import { decodeJson, map, object, optional, string, unknown } from '../../../core/json.ts';
import { credentialsIn } from './auth-file.ts';
import type { Credentials, CredentialSource } from './credentials.ts';

/** The credentials that docker sends, also as the body of POST /auth. */
export interface AuthConfig {
  readonly credentials: Credentials | undefined;
  /** The registry, in one of docker's spellings; empty for Docker Hub. */
  readonly serverAddress: string;
}

const MAX_BYTES = 128 * 1024;

const authConfig = object({
  username: optional(string),
  password: optional(string),
  auth: optional(string),
  serveraddress: optional(string),
  identitytoken: optional(string),
  registrytoken: optional(string),
});

/** @throws {@link LayerstackError} ERR_INVALID_ARGUMENT, which quotes nothing from the input. */
export function parseAuthConfig(bytes: Uint8Array, what: string): AuthConfig {
  const fields = decodeJson(authConfig, bytes, { what, code: 'ERR_INVALID_ARGUMENT', maxBytes: MAX_BYTES });
  const pair = fields.username || fields.password ? fields : split(fields.auth ?? '', what);
  const credentials = {
    ...(pair.username && { username: pair.username }),
    ...(pair.password && { password: pair.password }),
    ...(fields.identitytoken && { identityToken: fields.identitytoken }),
    ...(fields.registrytoken && { registryToken: fields.registrytoken }),
  };
  return {
    credentials: Object.keys(credentials).length === 0 ? undefined : credentials,
    serverAddress: fields.serveraddress ?? '',
  };
}

/**
 * Parses the header's value; undefined where it is absent. Clients send `{}` or nothing to be anonymous, and
 * some use the other alphabet of base64.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT, which quotes nothing from the input.
 */
export function parseRegistryAuth(header: string | undefined): AuthConfig | undefined {
  if (header === undefined || header === '') return undefined;
  return parseAuthConfig(decodeBase64(header, 'X-Registry-Auth'), 'X-Registry-Auth');
}

/**
 * Parses the value of `X-Registry-Config`. Its keys are registries in docker's spellings, as in config.json.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT, which quotes nothing from the input.
 */
export function parseRegistryConfig(header: string): CredentialSource {
  const path = 'X-Registry-Config';
  const source = { what: path, code: 'ERR_INVALID_ARGUMENT', maxBytes: MAX_BYTES } as const;
  const auths = decodeJson(map(unknown), decodeBase64(header, path), source);
  return { get: (host) => Promise.resolve().then(() => credentialsIn({ path, auths }, host)) };
}

/** Node decodes both alphabets of base64. */
function decodeBase64(header: string, what: string): Buffer {
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(header)) throw malformed(what, 'it is not base64');
  return Buffer.from(header, 'base64');
}

function split(auth: string, what: string): { readonly username?: string; readonly password?: string } {
  if (auth === '') return {};
  const text = Buffer.from(auth, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon < 0) throw malformed(what, 'its `auth` is not USER:PASSWORD in base64');
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

function malformed(what: string, why: string): LayerstackError {
  return new LayerstackError('ERR_INVALID_ARGUMENT', `${what} is malformed: ${why}`);
}
