/**
 * Reads the file in which docker, podman and skopeo keep credentials:
 *
 *   {"auths": {KEY: {"auth": base64(USER:PASSWORD), "identitytoken": …, "registrytoken": …}},
 *    "credHelpers": {KEY: HELPER}, "credsStore": HELPER}
 *
 * KEY is a registry in one of many spellings: with or without a scheme, with the path of an API version. An
 * entry is decoded only when it is asked for, so that one damaged entry does not affect the others. Podman's
 * keys for a part of a registry (`localhost:5000/team`) are skipped.
 * Mirrors docker/cli: cli/config/configfile/file.go and credentials/file_store.go.
 */
import { constants, open } from 'node:fs/promises';
import { isSystemError, LayerstackError, unlessMissing } from '../../../core/errors.ts';
import { decode, decodeJson, map, object, optional, string, unknown } from '../../../core/json.ts';
import { credentialsKey, type Credentials } from './credentials.ts';

export interface AuthFile {
  readonly path: string;
  /** The whole document. */
  readonly document: Readonly<Record<string, unknown>>;
  readonly auths: ReadonlyMap<string, unknown>;
  readonly credHelpers: ReadonlyMap<string, string>;
  readonly credsStore: string | undefined;
}

/** Docker's own file has some kilobytes at most. */
const MAX_BYTES = 1024 * 1024;

const authFile = object({
  auths: optional(map(unknown)),
  credHelpers: optional(map(string)),
  credsStore: optional(string),
});

const authEntry = object({
  auth: optional(string),
  username: optional(string),
  password: optional(string),
  identitytoken: optional(string),
  registrytoken: optional(string),
});

/**
 * Reads the file at `path`; undefined where it does not exist. An empty file, such as `/dev/null`, counts as
 * `{}`.
 * @throws {@link LayerstackError} ERR_CREDENTIALS_INVALID, which names the file.
 */
export async function readAuthFile(path: string): Promise<AuthFile | undefined> {
  const bytes = await unlessMissing(readBounded(path));
  if (!bytes) return undefined;
  const source = {
    what: path,
    code: 'ERR_CREDENTIALS_INVALID',
    maxBytes: MAX_BYTES,
    facts: { path },
  } as const;
  const document = bytes.length === 0 ? {} : decodeJson(unknown, bytes, source);
  const { auths, credHelpers, credsStore } = decode(authFile, document, source);
  return {
    path,
    document: document as Record<string, unknown>,
    auths: auths ?? new Map<string, unknown>(),
    credHelpers: credHelpers ?? new Map<string, string>(),
    credsStore: credsStore === '' ? undefined : credsStore,
  };
}

/** Reads at most one byte more than allowed. The decoder then refuses the content. */
async function readBounded(path: string): Promise<Uint8Array> {
  try {
    // Without O_NONBLOCK, opening a fifo would wait for its writer.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const buffer = Buffer.alloc(MAX_BYTES + 1);
    let size = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, size, buffer.length - size);
      size += bytesRead;
      if (bytesRead === 0) return buffer.subarray(0, size);
    }
  } catch (error) {
    if (!isSystemError(error) || error.code === 'ENOENT') throw error;
    throw new LayerstackError('ERR_CREDENTIALS_INVALID', `${path} cannot be read (${error.code})`, {
      path,
      cause: error,
    });
  }
}

/**
 * Returns the credentials in the file for a registry. Undefined without an entry, or with the empty entry
 * that stands for a helper.
 */
export function credentialsIn(file: Pick<AuthFile, 'path' | 'auths'>, key: string): Credentials | undefined {
  const found = lookUp(file.auths, key);
  if (!found) return undefined;
  const what = `${file.path}: auths[${JSON.stringify(found.key)}]`;
  const facts = { path: file.path };
  const entry = decode(optional(authEntry), found.value, {
    what,
    code: 'ERR_CREDENTIALS_INVALID',
    maxBytes: 0,
    facts,
  });
  if (!entry) return undefined;
  const { identitytoken, registrytoken } = entry;
  const pair = entry.auth
    ? decodeAuth(entry.auth, what, facts)
    : { username: entry.username, password: entry.password };
  const credentials = {
    ...(pair.username && { username: pair.username }),
    ...(pair.password && { password: pair.password }),
    ...(identitytoken && { identityToken: identitytoken }),
    ...(registrytoken && { registryToken: registrytoken }),
  };
  return Object.keys(credentials).length === 0 ? undefined : credentials;
}

/** Returns the name of the helper that the file names for a registry. */
export function helperFor(file: AuthFile, key: string): string | undefined {
  return lookUp(file.credHelpers, key)?.value ?? file.credsStore;
}

/** Decodes `user:password` from base64. Docker once padded the password with zero bytes. */
function decodeAuth(
  auth: string,
  what: string,
  facts: { readonly path: string },
): { readonly username: string; readonly password: string } {
  const text = Buffer.from(auth, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  // Buffer ignores characters that are not base64. Go, like every other reader of the file, refuses them.
  if (!/^[A-Za-z0-9+/\r\n]*={0,2}[\r\n]*$/.test(auth) || colon < 0)
    throw new LayerstackError(
      'ERR_CREDENTIALS_INVALID',
      `${what}.auth is not USER:PASSWORD in base64: log in again, or remove the entry`,
      facts,
    );
  return { username: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, '') };
}

/** Returns the entry with exactly this key, else the first one for the same registry. */
function lookUp<T>(entries: ReadonlyMap<string, T>, key: string): { key: string; value: T } | undefined {
  const exact = entries.get(key);
  if (exact !== undefined) return { key, value: exact };
  for (const [each, value] of entries) if (isSameRegistry(each, key)) return { key: each, value };
  return undefined;
}

/** Returns whether two keys name the same registry. */
export function isSameRegistry(a: string, b: string): boolean {
  const host = registryOf(a);
  return host !== undefined && host === registryOf(b);
}

/**
 * Returns the registry of a key, as `credentialsKey` writes it; undefined for a key of a part of a registry.
 */
function registryOf(key: string): string | undefined {
  const {
    scheme,
    host = '',
    path = '',
  } = /^(?<scheme>https?:\/\/)?(?<host>[^/]*)(?<path>.*)$/s.exec(key)?.groups ?? {};
  if (scheme === undefined && !/^(?:\/v[12])?\/?$/.test(path)) return undefined;
  const known = credentialsKey(host);
  return known === host ? host : 'docker.io';
}
