/**
 * A container's ports, mounts and networks as docker's client shows them, each in one text (docker/cli:
 * cli/command/formatter/container.go).
 */
import { isIPv6 } from 'node:net';
import type { ContainerInspect } from '../../container/inspect.ts';
import { portsOf, type PortSummary } from '../../container/ports.ts';
import { ellipsis } from './format.ts';

/** docker cuts the source of a mount to this width. */
const MOUNT_WIDTH = 15;

export interface ContainerFields {
  readonly Ports: string;
  readonly Mounts: string;
  /** How many of the mounts are local volumes. */
  readonly LocalVolumes: string;
  readonly Networks: string;
}

export function containerFields(container: ContainerInspect, truncate: boolean): ContainerFields {
  const mounts = container.Mounts.map(({ Name, Source }) => textOr(Name, textOr(Source, '')));
  const networks = container.NetworkSettings['Networks'];
  return {
    Ports: portsText(portsOf(container)),
    Mounts: mounts.map((name) => (truncate ? ellipsis(name, MOUNT_WIDTH) : name)).join(','),
    LocalVolumes: String(container.Mounts.filter(({ Driver }) => Driver === 'local').length),
    Networks: Object.keys(typeof networks === 'object' ? (networks ?? {}) : {}).join(','),
  };
}

/**
 * A run of consecutive ports. Either all are published, each under its own number at one address, or none is.
 */
interface Run {
  readonly first: PortSummary;
  last: number;
}

/** Returns e.g. `0.0.0.0:80-81->80-81/tcp, 9988/tcp, 127.0.0.1:8080->443/tcp`; `ports` must be sorted. */
export function portsText(ports: readonly PortSummary[]): string {
  const ended: string[] = [];
  const runs = new Map<string, Run>();
  const moved: string[] = [];
  for (const port of ports) {
    const { IP, PrivatePort, PublicPort, Type } = port;
    if (IP !== undefined && PublicPort !== PrivatePort) {
      moved.push(`${hostAndPort(IP, String(PublicPort))}->${PrivatePort}/${Type}`);
      continue;
    }
    const key = `${IP ?? ''}/${Type}`;
    const run = runs.get(key);
    if (run?.last === PrivatePort - 1) run.last = PrivatePort;
    else {
      if (run) ended.push(runText(run));
      runs.set(key, { first: port, last: PrivatePort });
    }
  }
  return [...ended, ...[...runs.values()].map(runText), ...moved].join(', ');
}

function runText({ first: { IP, PrivatePort, Type }, last }: Run): string {
  const range = PrivatePort === last ? String(last) : `${PrivatePort}-${last}`;
  return IP === undefined ? `${range}/${Type}` : `${hostAndPort(IP, range)}->${range}/${Type}`;
}

function hostAndPort(address: string, port: string): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}

function textOr(value: unknown, otherwise: string): string {
  return typeof value === 'string' && value !== '' ? value : otherwise;
}
