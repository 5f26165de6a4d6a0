/**
 * The file in which docker, podman and skopeo keep credentials, as it is read:
 *
 *   {"auths": {KEY: {"auth": base64(USER:PASSWORD), "identitytoken": …, "registrytoken": …}},
 *    "credHelpers": {KEY: HELPER}, "credsStore": HELPER}
 *
 * KEY is a registry in one of many spellings: with or without a scheme, with the path of an API version. What it
 * holds is decoded when it is asked for, so that one damaged entry does not spoil the others.
 * Mirrors docker/cli: cli/config/configfile/file.go and credentials/file_store.go. Keys of podman for a part of a registry
 * (`localhost:5000/team`) are passed over.
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

/** Docker's own has some kilobytes at most. */
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
 * The file at `path`; undefined where there is none. An empty one, as `/dev/null` is, counts as `{}`.
 * @throws {@link LayerstackError} ERR_CREDENTIALS_INVALID naming the file.
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

/** At most one byte more than allowed, which the decoder then refuses. */
async function readBounded(path: string): Promise<Uint8Array> {
  try {
    // Not to wait for the writer of a fifo.
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

/** What the file itself has for a registry; undefined without an entry, or with the empty one that a helper leaves. */
export function credentialsIn(file: AuthFile, key: string): Credentials | undefined {
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

/** The helper that the file names for a registry. */
export function helperFor(file: AuthFile, key: string): string | undefined {
  return lookUp(file.credHelpers, key)?.value ?? file.credsStore;
}

/** `user:password` from base64; docker once padded the password with zero bytes. */
function decodeAuth(
  auth: string,
  what: string,
  facts: { readonly path: string },
): { readonly username: string; readonly password: string } {
  const text = Buffer.from(auth, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  // Buffer passes over what is no base64; Go, as every other reader of the file, does not.
  if (!/^[A-Za-z0-9+/\r\n]*={0,2}[\r\n]*$/.test(auth) || colon < 0)
    throw new LayerstackError(
      'ERR_CREDENTIALS_INVALID',
      `${what}.auth is not USER:PASSWORD in base64: log in again, or remove the entry`,
      facts,
    );
  return { username: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, '') };
}

/** The entry of just this key, else the first one that means the same registry. */
function lookUp<T>(entries: ReadonlyMap<string, T>, key: string): { key: string; value: T } | undefined {
  const exact = entries.get(key);
  if (exact !== undefined) return { key, value: exact };
  for (const [each, value] of entries) if (isSameRegistry(each, key)) return { key: each, value };
  return undefined;
}

/** Whether two keys mean the same registry. */
export function isSameRegistry(a: string, b: string): boolean {
  const host = registryOf(a);
  return host !== undefined && host === registryOf(b);
}

/** The registry that a key means, as `credentialsKey` has it; undefined for a part of one. */
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
