/**
 * What the operator says about registries, in `<root>/layerstack/registries.json`:
 *
 *   { "certsDirectory": "/etc/docker/certs.d",
 *     "registries": { "HOST[:PORT]": {
 *       "mirrors": ["https://mirror.example", "http://10.0.0.2:5000/hub"], "allow": ["storage.example:9000"],
 *       "insecure": false, "ca": "/path.pem", "certificate": "/path.pem", "key": "/path.pem", "timeoutSeconds": 60 } } }
 *
 * Read strictly: what is misspelt must not silently mean nothing. Missing: everything by default.
 */
import { isSystemError, LayerstackError } from '../../core/errors.ts';
import * as json from '../../core/json.ts';
import { registryAddress } from './address.ts';
import { DEFAULT_CERTS_DIRECTORY } from './certificates.ts';
import { readStoreFile } from '../../system/store-files.ts';

/** About one registry or mirror. */
export interface HostSettings {
  /** Base URLs (`/v2/` follows) that are asked, in order, before the registry for what is read. */
  readonly mirrors: readonly URL[];
  /** `HOST[:PORT]` that it may send us to though they are in a private network or on this machine (see egress.ts). */
  readonly allow: readonly string[];
  /** TLS without checking certificates, and plain HTTP where there is no TLS. Undefined: only on loopback. */
  readonly insecure: boolean | undefined;
  /** PEM file of CAs to trust beside the machine's. */
  readonly ca: string | undefined;
  /** PEM files of the client's certificate and its key: both or neither. */
  readonly certificate: string | undefined;
  readonly key: string | undefined;
  /** Silence that is borne, for an answer and within a body. */
  readonly timeoutMs: number | undefined;
}

export interface RegistrySettings {
  /** By `HOST[:PORT]`, `docker.io` among them. */
  readonly hosts: ReadonlyMap<string, HostSettings>;
  readonly certsDirectory: string;
  /** Where these settings come from, for advice in errors. */
  readonly path: string;
}

const MAX_BYTES = 1024 * 1024;
const MAX_MIRRORS = 16;
const MAX_ALLOWED = 100;
const HOST = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[a-f0-9:]+\])(?::\d{1,5})?$/;

/** The settings where nothing is said: `LAYERSTACK_CERTS_DIR` or docker's directory, no mirrors. */
export function defaultSettings(path: string, env: NodeJS.ProcessEnv = process.env): RegistrySettings {
  return {
    hosts: new Map(),
    certsDirectory: env['LAYERSTACK_CERTS_DIR'] || DEFAULT_CERTS_DIRECTORY,
    path,
  };
}

/**
 * The settings of the file; the default ones where there is none.
 * @throws {@link LayerstackError} ERR_REGISTRY_SETTINGS naming the file and the key.
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
    // A store's directory is its owner's alone; whoever looks at a registry without privileges has settings of his own.
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

/** What is said about a `HOST[:PORT]`; of the host that speaks Docker Hub's API, what is said about `docker.io`. */
export function settingsOf({ hosts }: RegistrySettings, host: string): HostSettings | undefined {
  const hub = registryAddress('docker.io');
  return hosts.get(host) ?? (host === hub.apiHost ? hosts.get(hub.host) : undefined);
}

/** An object with these keys and no others, in just this spelling. */
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
  return text.startsWith('/') ? text : json.mismatch(path, 'is no absolute path');
};

const mirror: json.Decoder<URL> = (value, path) => {
  const text = json.string(value, path);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:\/\//i.test(text)) return json.mismatch(path, 'is no http:// or https:// URL');
  if (url.username !== '' || url.password !== '')
    json.mismatch(path, `has a user in it; use \`layerstack login ${url.host}\``);
  if (url.search !== '' || url.hash !== '') json.mismatch(path, 'has a query or a fragment');
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
};

const allowedHost: json.Decoder<string> = (value, path) => {
  const text = json.string(value, path);
  return HOST.test(text) ? text : json.mismatch(path, 'is no HOST[:PORT], as in "storage.example:9000"');
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
      json.mismatch(`${path}[${JSON.stringify(name)}]`, 'is no HOST[:PORT] in lower case, without https://');
  return found;
};

const document = exact({
  certsDirectory: json.optional(file),
  registries: json.withDefault(hosts, new Map<string, HostSettings>()),
});
