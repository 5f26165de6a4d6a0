/** Registry clients for tests: with short pauses, and without the machine's configuration. */
import { defaultLogger } from '../../src/system/log.ts';
import {
  openRepository,
  type RegistryAccess,
  type RepositoryClient,
} from '../../src/transfer/registry/client.ts';
import { defaultSettings, type HostSettings } from '../../src/transfer/registry/settings.ts';

const NOTHING: HostSettings = {
  mirrors: [],
  allow: [],
  insecure: undefined,
  ca: undefined,
  certificate: undefined,
  key: undefined,
  timeoutMs: undefined,
};

export interface TestAccess extends Partial<RegistryAccess> {
  readonly hosts?: Readonly<Record<string, Partial<HostSettings>>>;
  readonly certsDirectory?: string;
}

/** Returns an access without credentials, mirrors, proxies and certificates, and with short pauses. */
export function testAccess({ hosts = {}, certsDirectory, ...rest }: TestAccess = {}): RegistryAccess {
  const settings = defaultSettings('/etc/test/registries.json', {});
  return {
    settings: {
      ...settings,
      certsDirectory: certsDirectory ?? '/nowhere/certs.d',
      hosts: new Map(Object.entries(hosts).map(([host, own]) => [host, { ...NOTHING, ...own }])),
    },
    credentials: undefined,
    log: defaultLogger,
    env: {},
    retry: { pauseMs: 2 },
    timeouts: { connectMs: 5000, headersMs: 5000, stallMs: 5000 },
    ...rest,
  };
}

export function testClient(repository: string, access?: TestAccess): RepositoryClient {
  return openRepository(repository, testAccess(access));
}

/** Reads all bytes of a body. */
export async function drain(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}
