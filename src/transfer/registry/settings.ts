/**
 * What an operator says about registries. (To come: read from `<root>/layerstack/registries.json`.)
 */

/** About one registry. */
export interface HostSettings {
  /** URLs that are asked first for what is read. */
  readonly mirrors: readonly URL[];
  /** TLS without checking certificates, and plain HTTP where there is no TLS. */
  readonly insecure: boolean;
}

export interface RegistrySettings {
  /** By host, `docker.io` among them. */
  readonly hosts: ReadonlyMap<string, HostSettings>;
}

/** Where nothing is set. */
export const NO_SETTINGS: RegistrySettings = { hosts: new Map() };
