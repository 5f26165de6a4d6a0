/**
 * Opens the endpoints of a registry and of its mirrors. Each has its own connections and its own egress
 * policy.
 */
import type { RegistryAddress } from './address.ts';
import { Egress } from './egress.ts';
import { Endpoint, type EndpointOptions } from './endpoint.ts';
import { Transport, type TransportOptions } from './transport.ts';

export type EndpointAccess = Omit<TransportOptions, 'egress'> &
  Omit<EndpointOptions, 'label' | 'host' | 'bases' | 'transport'>;

/** Opens a registry over https. An insecure registry is opened over https or http, whichever it speaks. */
export function openOrigin({ host, apiHost }: RegistryAddress, access: EndpointAccess): Endpoint {
  const egress = new Egress(access.settings, apiHost);
  const base = (scheme: string): URL => new URL(`${scheme}://${apiHost}/v2/`);
  const both = egress.isInsecure(apiHost);
  const bases = both ? ([base('https'), base('http')] as const) : ([base('https')] as const);
  return new Endpoint({
    ...access,
    label: host,
    host,
    bases,
    transport: new Transport({ ...access, egress }),
  });
}

/** @param url the mirror's base URL, as in the settings */
export function openMirror(url: URL, access: EndpointAccess): Endpoint {
  const egress = new Egress(access.settings, url.host, url.protocol === 'http:');
  const bases = [new URL('v2/', url)] as const;
  const label = `mirror ${url.href}`;
  return new Endpoint({
    ...access,
    label,
    host: url.host,
    bases,
    transport: new Transport({ ...access, egress }),
  });
}
