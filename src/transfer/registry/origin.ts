/** The endpoint of a registry itself, as opposed to its mirrors. */
import type { RegistryAddress } from './address.ts';
import { Endpoint, type EndpointOptions } from './endpoint.ts';
import type { Transport } from './transport.ts';

/** Over https, and where the registry is insecure over http too, whichever it speaks. */
export function openOrigin(
  { host, apiHost }: RegistryAddress,
  transport: Transport,
  options: Omit<EndpointOptions, 'label' | 'host' | 'bases' | 'transport'>,
): Endpoint {
  const base = (scheme: string): URL => new URL(`${scheme}://${apiHost}/v2/`);
  const both = transport.isInsecure(apiHost);
  const bases = both ? ([base('https'), base('http')] as const) : ([base('https')] as const);
  return new Endpoint({ ...options, label: host, host, bases, transport });
}
