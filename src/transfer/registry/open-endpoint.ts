/** The endpoints of a registry itself and of its mirrors; each has its own connections, and its own rule where they may lead. */
import type { RegistryAddress } from './address.ts';
import { Egress } from './egress.ts';
import { Endpoint, type EndpointOptions } from './endpoint.ts';
import { Transport, type TransportOptions } from './transport.ts';

export type EndpointAccess = Omit<TransportOptions, 'egress'> &
  Omit<EndpointOptions, 'label' | 'host' | 'bases' | 'transport'>;

/** Over https, and where the registry is insecure over http too, whichever it speaks. */
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

/** @param url its base URL, as the settings have it */
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
