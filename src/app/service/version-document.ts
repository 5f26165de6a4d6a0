/** The server's part of `docker version`. Mirrors `moby/moby: daemon/info.go` (SystemVersion) at v20.10. */
import { arch, release } from 'node:os';
import { hostPlatform } from '../../core/platform.ts';
import { packageVersion } from '../../system/package-version.ts';
import { API_VERSION, MIN_API_VERSION } from './version.ts';

/** Clients before API 1.35 read the members below `Components`; later ones read the components. */
export function versionDocument(): Readonly<Record<string, unknown>> {
  const engine = {
    ApiVersion: API_VERSION,
    MinAPIVersion: MIN_API_VERSION,
    GitCommit: '',
    GoVersion: `none (Node.js ${process.version})`,
    Os: 'linux',
    Arch: hostPlatform().architecture,
    KernelVersion: release(),
    BuildTime: '',
  };
  return {
    Platform: { Name: 'layerstack' },
    Components: [
      { Name: 'Engine', Version: packageVersion(), Details: { ...engine, Experimental: 'false' } },
      { Name: 'Node.js', Version: process.version.slice(1), Details: { Arch: arch() } },
    ],
    Version: packageVersion(),
    ...engine,
  };
}
