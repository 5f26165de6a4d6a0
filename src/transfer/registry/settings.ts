/**
 * Reads the operator's settings for registries, `<root>/layerstack/registries.json`:
 *
 *   { "certsDirectory": "/etc/docker/certs.d",
 *     "registries": { "HOST[:PORT]": {
 *       "mirrors": ["https://mirror.example", "http://10.0.0.2:5000/hub"], "allow": ["storage.example:9000"],
 *       "insecure": false, "ca": "/path.pem", "certificate": "/path.pem", "key": "/path.pem",
 *       "timeoutSeconds": 60 } } }
 *
 * The file is read strictly, because a misspelt key must not be ignored silently. Anything left out has its
 * default.
 */
import { isSystemError, LayerstackError } from '../../core/errors.ts';
import * as json from '../../core/json.ts';
import { registryAddress } from './address.ts';
import { DEFAULT_CERTS_DIRECTORY } from './certificates.ts';
import { readStoreFile } from '../../system/store-files.ts';

/** Settings of one registry or mirror. */
export interface HostSettings {
  /** Base URLs (`/v2/` follows) of the mirrors, which are read from, in order, before the registry. */
  readonly mirrors: readonly URL[];
  /**
   * `HOST[:PORT]` to which the registry may send us although they are in a private network or on this machine
   * (see egress.ts).
   */
  readonly allow: readonly string[];
  /**
   * TLS without checking certificates, and plain HTTP where the server has no TLS. Undefined: only on
   * loopback.
   */
  readonly insecure: boolean | undefined;
  /** PEM file of CAs to trust besides the machine's. */
  readonly ca: string | undefined;
  /** PEM files of the client's certificate and its key: both or neither. */
  readonly certificate: string | undefined;
  readonly key: string | undefined;
  /** Maximum silence, before a response and within a body. */
  readonly timeoutMs: number | undefined;
}

export interface RegistrySettings {
  /** Settings by `HOST[:PORT]`, including `docker.io`. */
  readonly hosts: ReadonlyMap<string, HostSettings>;
  readonly certsDirectory: string;
  /** The file of these settings, for advice in errors. */
  readonly path: string;
}

const MAX_BYTES = 1024 * 1024;
const MAX_MIRRORS = 16;
const MAX_ALLOWED = 100;
const HOST = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[a-f0-9:]+\])(?::\d{1,5})?$/;

/** Returns the settings without a file: `LAYERSTACK_CERTS_DIR` or docker's directory, no mirrors. */
export function defaultSettings(path: string, env: NodeJS.ProcessEnv = process.env): RegistrySettings {
  return {
    hosts: new Map(),
    certsDirectory: env['LAYERSTACK_CERTS_DIR'] || DEFAULT_CERTS_DIRECTORY,
    path,
  };
}

/**
 * Reads the settings from the file; the default settings where it does not exist.
 * @throws {@link LayerstackError} ERR_REGISTRY_SETTINGS, which names the file and the key.
 */
export async function readSettings(
  path: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<RegistrySettings> {
  const defaults = defaultSettings(path, env);
  let bytes: Uint8Array | undefined;
  try {
    bytes = await readStoreFile(path, MAX_BYTES);
  } catch (error) {
    // A store's directory is private to its owner. A user who inspects a registry without privileges gets the
    // defaults.
    if (isSystemError(error, 'EACCES')) return defaults;
    if (LayerstackError.is(error))
      throw new LayerstackError('ERR_REGISTRY_SETTINGS', error.message, { path, cause: error });
    throw new LayerstackError('ERR_REGISTRY_SETTINGS', `${path}: it cannot be read`, { path, cause: error });
  }
  if (bytes === undefined) return defaults;
  const source = { what: path, code: 'ERR_REGISTRY_SETTINGS', maxBytes: MAX_BYTES, facts: { path } } as const;
  const { registries, certsDirectory } = json.decodeJson(document, bytes, source);
  return {
    hosts: registries,
    certsDirectory: env['LAYERSTACK_CERTS_DIR'] || (certsDirectory ?? defaults.certsDirectory),
    path,
  };
}

/** Returns the settings of a `HOST[:PORT]`. The API host of Docker Hub has those of `docker.io`. */
export function settingsOf({ hosts }: RegistrySettings, host: string): HostSettings | undefined {
  const hub = registryAddress('docker.io');
  return hosts.get(host) ?? (host === hub.apiHost ? hosts.get(hub.host) : undefined);
}

/** Decodes an object with exactly these keys, in exactly this spelling. */
function exact<S extends Record<string, json.Decoder<unknown>>>(shape: S) {
  const decoder = json.object(shape);
  const known = Object.keys(shape);
  return ((value, path) => {
    for (const key of json.map(json.unknown)(value, path).keys())
      if (!known.includes(key))
        json.mismatch(path, `has an unknown key ${JSON.stringify(key)}; it may have ${known.join(', ')}`);
    return decoder(value, path);
  }) satisfies typeof decoder;
}

const file: json.Decoder<string> = (value, path) => {
  const text = json.string(value, path);
  return text.startsWith('/') ? text : json.mismatch(path, 'is not an absolute path');
};

const mirror: json.Decoder<URL> = (value, path) => {
  const text = json.string(value, path);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:\/\//i.test(text)) return json.mismatch(path, 'is not an http:// or https:// URL');
  if (url.username !== '' || url.password !== '')
    json.mismatch(path, `has a user in it; use \`layerstack login ${url.host}\``);
  if (url.search !== '' || url.hash !== '') json.mismatch(path, 'has a query or a fragment');
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
};

const allowedHost: json.Decoder<string> = (value, path) => {
  const text = json.string(value, path);
  return HOST.test(text) ? text : json.mismatch(path, 'is not HOST[:PORT], as in "storage.example:9000"');
};

const seconds: json.Decoder<number> = (value, path) => {
  const whole = json.integer(value, path);
  return whole >= 1 && whole <= 3600 ? whole : json.mismatch(path, 'is not between 1 and 3600 seconds');
};

const hostShape = exact({
  mirrors: json.withDefault(json.array(mirror, MAX_MIRRORS), []),
  allow: json.withDefault(json.array(allowedHost, MAX_ALLOWED), []),
  insecure: json.optional(json.boolean),
  ca: json.optional(file),
  certificate: json.optional(file),
  key: json.optional(file),
  timeoutSeconds: json.optional(seconds),
});

const host: json.Decoder<HostSettings> = (value, path) => {
  const { timeoutSeconds, ...rest } = hostShape(value, path);
  if ((rest.certificate === undefined) !== (rest.key === undefined))
    json.mismatch(path, 'has one of certificate and key; a client needs both');
  return { ...rest, timeoutMs: timeoutSeconds === undefined ? undefined : timeoutSeconds * 1000 };
};

const hosts: json.Decoder<ReadonlyMap<string, HostSettings>> = (value, path) => {
  const found = json.map(host)(value, path);
  for (const name of found.keys())
    if (!HOST.test(name))
      json.mismatch(`${path}[${JSON.stringify(name)}]`, 'is not HOST[:PORT] in lower case, without https://');
  return found;
};

const document = exact({
  certsDirectory: json.optional(file),
  registries: json.withDefault(hosts, new Map<string, HostSettings>()),
});
