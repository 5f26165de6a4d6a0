/**
 * Reads the CAs to trust at a registry, and the client certificates to present:
 * `/etc/docker/certs.d/HOST[:PORT]/` with docker's rules. Every `*.crt` is a CA, added to the machine's own.
 * Every `NAME.cert` is a client's certificate; its key is `NAME.key`. `LAYERSTACK_CERTS_DIR` names another
 * directory than `/etc/docker/certs.d`.
 * Mirrors moby/moby: registry/registry.go (ReadCertsDirectory).
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createSecureContext, rootCertificates } from 'node:tls';
import { LayerstackError, unlessMissing } from '../../core/errors.ts';

/** PEM texts, as node:tls takes them. */
export interface TlsFiles {
  /** CAs besides the machine's own. */
  readonly ca: readonly string[];
  readonly cert: readonly string[];
  readonly key: readonly string[];
}

export const DEFAULT_CERTS_DIRECTORY = '/etc/docker/certs.d';

/** Files in which distributions keep all their CAs: Debian, Fedora, SUSE, Alpine. Go uses the same list. */
const SYSTEM_CAS = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/**
 * Returns the directory's files for a host (`HOST[:PORT]`); none where it has none.
 * @throws {@link LayerstackError} ERR_REGISTRY_SETTINGS, which names the unusable file.
 */
export async function certificatesFor(host: string, directory: string): Promise<TlsFiles> {
  const folder = join(directory, host.toLowerCase());
  const names = ((await unlessMissing(readdir(folder))) ?? []).sort();
  const found = { ca: [] as string[], cert: [] as string[], key: [] as string[] };
  for (const name of names) {
    const path = join(folder, name);
    if (name.endsWith('.crt')) found.ca.push(await pem(path));
    if (name.endsWith('.cert')) {
      const keyName = `${name.slice(0, -'.cert'.length)}.key`;
      if (!names.includes(keyName))
        fail(path, `its key ${keyName} is missing; a CA's certificate must be called *.crt`);
      const [cert, key] = [await pem(path), await pem(join(folder, keyName))];
      check(path, { cert, key });
      found.cert.push(cert);
      found.key.push(key);
    }
    if (name.endsWith('.key') && !names.includes(`${name.slice(0, -'.key'.length)}.cert`))
      fail(path, `its certificate ${name.slice(0, -'.key'.length)}.cert is missing`);
  }
  return found;
}

/**
 * Reads one file of CAs, client certificates or keys.
 * @throws {@link LayerstackError} ERR_REGISTRY_SETTINGS
 */
export async function pem(path: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    return fail(path, 'it cannot be read', error);
  }
  if (!text.includes('-----BEGIN ')) fail(path, 'it is not PEM (-----BEGIN …)');
  if (path.endsWith('.crt')) check(path, { ca: text });
  return text;
}

let machine: Promise<readonly string[]> | undefined;

/**
 * Returns the CAs that this machine trusts: those of `SSL_CERT_FILE` or of the distribution, else Node's own.
 * Adds those of NODE_EXTRA_CA_CERTS.
 */
export function machineCas(env: NodeJS.ProcessEnv = process.env): Promise<readonly string[]> {
  machine ??= readMachineCas(env);
  return machine;
}

async function readMachineCas(env: NodeJS.ProcessEnv): Promise<readonly string[]> {
  const read = (path: string) => readFile(path, 'utf8').catch(() => undefined);
  const extra = env['NODE_EXTRA_CA_CERTS'] ? await read(env['NODE_EXTRA_CA_CERTS']) : undefined;
  for (const path of [env['SSL_CERT_FILE'], ...SYSTEM_CAS]) {
    const text = path ? await read(path) : undefined;
    if (text?.includes('-----BEGIN CERTIFICATE-----')) return [text, ...(extra ? [extra] : [])];
  }
  return [...rootCertificates, ...(extra ? [extra] : [])];
}

function check(path: string, options: { ca?: string; cert?: string; key?: string }): void {
  try {
    createSecureContext(options);
  } catch (error) {
    fail(path, `it cannot be used (${(error as Error).message})`, error);
  }
}

function fail(path: string, why: string, cause?: unknown): never {
  throw new LayerstackError('ERR_REGISTRY_SETTINGS', `${path}: ${why}`, { path, cause });
}
