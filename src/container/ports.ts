/**
 * Lists the ports of a container as docker does (moby/moby: container/view.go), from the network settings of
 * a daemon.
 */
import { compareBytes } from '../core/bytes.ts';
import type { ContainerInspect } from './inspect.ts';

export interface PortSummary {
  /** The host's address. */
  readonly IP?: string;
  readonly PrivatePort: number;
  readonly PublicPort?: number;
  /** `tcp`, `udp` or `sctp` */
  readonly Type: string;
}

/** Returns the ports, sorted as docker's client shows them. Only a container that a daemon runs has any. */
export function portsOf({ NetworkSettings }: Pick<ContainerInspect, 'NetworkSettings'>): PortSummary[] {
  const found = Object.entries(membersOf(NetworkSettings['Ports'])).flatMap(([name, bindings]) => {
    const [text, type = 'tcp'] = name.split('/');
    const port = portNumber(text);
    if (port === undefined) return [];
    const bound = Array.isArray(bindings) ? bindings.flatMap(hostSide) : [];
    return bound.length === 0
      ? [{ PrivatePort: port, Type: type }]
      : bound.map((host) => ({ ...host, PrivatePort: port, Type: type }));
  });
  return found.sort(comparePorts);
}

function hostSide(binding: unknown): { readonly IP?: string; readonly PublicPort: number }[] {
  const { HostIp, HostPort } = membersOf(binding);
  const port = portNumber(HostPort);
  if (port === undefined) return [];
  return [{ ...(typeof HostIp === 'string' && HostIp !== '' && { IP: HostIp }), PublicPort: port }];
}

function comparePorts(a: PortSummary, b: PortSummary): number {
  return (
    a.PrivatePort - b.PrivatePort ||
    compareBytes(a.IP ?? '', b.IP ?? '') ||
    (a.PublicPort ?? 0) - (b.PublicPort ?? 0) ||
    compareBytes(a.Type, b.Type)
  );
}

function portNumber(value: unknown): number | undefined {
  return typeof value === 'string' && /^\d{1,5}$/.test(value) && Number(value) <= 65_535
    ? Number(value)
    : undefined;
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
