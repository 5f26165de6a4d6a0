/**
 * What `docker container inspect` says about a container, as far as a store without a runtime knows it; field names
 * and order are Docker's.
 */
import { dockerContainerConfig } from '../image/container-config.ts';
import type { Layout } from '../system/layout.ts';
import { readLink, readText } from './read-text.ts';
import type { Container } from './record.ts';

export interface ContainerInspect {
  readonly Id: string;
  /** RFC3339. */
  readonly Created: string;
  readonly Path: string;
  readonly Args: readonly string[];
  readonly State: Readonly<Record<string, unknown>>;
  /** Image id; empty where dockerd made the container without one. */
  readonly Image: string;
  /** With Docker's leading `/`. */
  readonly Name: string;
  readonly Driver: 'overlay2';
  readonly GraphDriver: { readonly Data: Readonly<Record<string, string>>; readonly Name: 'overlay2' };
  readonly Config: Readonly<Record<string, unknown>>;
}

/** The document of one container. */
export function inspectContainer(layout: Layout, container: Container): ContainerInspect {
  const [path = '', ...args] = container.command;
  return {
    Id: container.id,
    Created: container.created,
    Path: path,
    Args: args,
    State: {
      Status: container.state,
      Running: container.state === 'running',
      ExitCode: container.exitCode,
      ...(container.finished === undefined ? {} : { FinishedAt: container.finished }),
    },
    Image: container.imageId ?? '',
    Name: `/${container.name}`,
    Driver: 'overlay2',
    GraphDriver: { Data: graphDriverData(layout, container.mountId), Name: 'overlay2' },
    Config: dockerContainerConfig(container.config),
  };
}

/** Lowers by their directories, not their short names, as dockerd reports them. */
function graphDriverData(layout: Layout, mountId: string): Record<string, string> {
  const lower = readText(layout.at(layout.overlay(mountId, 'lower')))?.trim() ?? '';
  const names = lower.split(':').filter(Boolean);
  return {
    ...(names.length > 0 && { LowerDir: names.map((name) => target(layout, name)).join(':') }),
    MergedDir: layout.at(layout.overlay(mountId, 'merged')),
    UpperDir: layout.at(layout.overlay(mountId, 'diff')),
    WorkDir: layout.at(layout.overlay(mountId, 'work')),
  };
}

/** `l/ABC…` -> `<root>/overlay2/<id>/diff`; the short name itself where it is dangling. */
function target(layout: Layout, name: string): string {
  const link = readLink(layout.at(`${layout.overlay2}/${name}`)) ?? name;
  return layout.at(`${layout.overlay2}/${link.replace(/^\.\.\//, '')}`);
}
