/**
 * Changes the networks that a container will join when it is started: `NetworkSettings.Networks` of
 * `config.v2.json`, and `NetworkMode` of `hostconfig.json`, which is the first of them. Mirrors `moby/moby:
 * daemon/container_operations.go` (containers that do not run) at v20.10.
 */
import { LayerstackError } from '../core/errors.ts';
import { goJson } from '../core/go-json.ts';
import { readText } from '../system/store-files.ts';
import type { Root } from '../system/root.ts';
import { endpoint, isKeptNetwork } from './documents.ts';
import { MAX_DOCUMENT_BYTES, type Container } from './record.ts';

type Endpoints = Readonly<Record<string, unknown>>;

/** @see ContainerStore.connect */
export function connectNetwork(
  root: Root,
  container: Container,
  network: string,
  settings: Readonly<Record<string, unknown>>,
): Promise<void> {
  return changeNetworks(root, container, (networks) => ({
    ...Object.fromEntries(Object.entries(networks).filter(([name]) => isKeptNetwork(name))),
    [network]: endpoint(settings),
  }));
}

/** @see ContainerStore.disconnect */
export function disconnectNetwork(root: Root, container: Container, network: string): Promise<void> {
  return changeNetworks(root, container, (networks) => {
    if (!Object.hasOwn(networks, network))
      throw new LayerstackError(
        'ERR_INVALID_ARGUMENT',
        `container ${container.id} is not connected to the network ${network}`,
        { id: container.id },
      );
    const left = Object.entries(networks).filter(([name]) => name !== network);
    return left.length > 0 ? Object.fromEntries(left) : { none: endpoint({}) };
  });
}

async function changeNetworks(
  root: Root,
  { id, name }: Container,
  change: (networks: Endpoints) => Endpoints,
): Promise<void> {
  const session = root.session();
  const { layout } = root;
  await using _lock = await root.locks.acquire('containers', id);
  const [configPath, hostPath] = [
    layout.container(id, 'config.v2.json'),
    layout.container(id, 'hostconfig.json'),
  ];
  const [config, host] = [configPath, hostPath].map((path) => readText(layout.at(path), MAX_DOCUMENT_BYTES));
  if (config === undefined || host === undefined)
    throw new LayerstackError('ERR_CONTAINER_NOT_FOUND', `container ${name} was removed`, { id });
  const document = JSON.parse(config) as { NetworkSettings?: { Networks?: Endpoints } };
  const settings = document.NetworkSettings ?? {};
  const networks = change(settings.Networks ?? {});
  const mode = Object.keys(networks)[0] ?? 'none';
  const hostDocument = { ...(JSON.parse(host) as Readonly<Record<string, unknown>>), NetworkMode: mode };
  const configDocument = { ...document, NetworkSettings: { ...settings, Networks: networks } };
  // A crash between the two leaves a mode that names a network of the container, or a former one.
  await session.replace([
    { op: 'replace', path: configPath, data: goJson(configDocument), mode: 0o600 },
    { op: 'replace', path: hostPath, data: goJson(hostDocument), mode: 0o644 },
  ]);
}
