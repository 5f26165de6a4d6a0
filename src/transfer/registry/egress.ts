/**
 * Where requests that a registry (or a mirror) gives rise to may go. The registry itself is its user's choice. Every other place is
 * the registry's: it names the storage that uploads go to and blobs come from, and its token server. It must not reach by us
 * what it could not reach itself, nor have us delete anything but its own (docs/architecture.md, "Where a registry may send us").
 */
import { lookup as systemLookup } from 'node:dns';
import type { LookupFunction } from 'node:net';
import type { LayerstackError } from '../../core/errors.ts';
import { isLoopback } from './address.ts';
import { registryError, type Subject } from './error.ts';
import { namedNetwork, networkOf, type Network } from './network.ts';
import { redactUrl } from './redact.ts';
import { settingsOf, type RegistrySettings } from './settings.ts';

/** Where the requests of a {@link Transport} may go. */
export interface EgressPolicy {
  /** Whether certificates of this `HOST[:PORT]` are not checked. */
  isInsecure(host: string): boolean;
  /** Judges all that can be judged without looking up an address. Before anything is sent. */
  check(url: URL, request: { readonly method: string; readonly subject: Subject }): void;
  /** The error for a request that would go to such an address. */
  outOfReach(url: URL, network: Network, subject: Subject): LayerstackError;
  /** Looks a host up, for connecting: gives only addresses that a request to `url` may go to. */
  lookup(url: URL): LookupFunction;
  /** A connection to the URL is there, at this address. */
  connected(url: URL, address: string | undefined): void;
}

/** Where an address is, in words. */
export const PLACES: Readonly<Record<Network, string>> = {
  loopback: 'on this machine',
  'link-local': 'on the link of this machine',
  private: 'in a private network',
  reserved: 'at an address that is for no server',
  public: 'on the internet',
};

export class Egress implements EgressPolicy {
  readonly #settings: RegistrySettings;
  readonly #host: string;
  /** The registry's connections are not protected, so nothing is lost where others are not. */
  readonly #plain: boolean;
  #network: Network | undefined;

  /**
   * @param host `HOST[:PORT]` of the registry
   * @param http it is spoken to by plain HTTP, whatever the settings say
   */
  constructor(settings: RegistrySettings, host: string, http = false) {
    this.#settings = settings;
    this.#host = host;
    this.#network = namedNetwork(new URL(`http://${host}`).hostname);
    this.#plain = http || this.isInsecure(host);
  }

  /**
   * Whether certificates of this `HOST[:PORT]` are not checked, and plain HTTP may be spoken, with passwords too. By default
   * on this machine, but not where a registry that is elsewhere sends us there.
   */
  isInsecure(host: string): boolean {
    return settingsOf(this.#settings, host)?.insecure ?? (isLoopback(host) && isLoopback(this.#host));
  }

  /**
   * Judges all that can be judged without looking up an address. Before anything is sent.
   * @throws {@link LayerstackError} ERR_REGISTRY_INVALID.
   */
  check(url: URL, { method, subject }: { readonly method: string; readonly subject: Subject }): void {
    if (url.protocol === 'http:' && !this.#plain && !this.isInsecure(url.host))
      throw refused(
        url,
        subject,
        'is not encrypted, so that anybody on the way could read and change what goes there',
        `If that is borne, set "insecure": true for ${JSON.stringify(url.host)} in ${this.#settings.path}`,
      );
    if (this.#isOwn(url)) return;
    if (method === 'DELETE')
      throw refused(url, subject, 'is somewhere else', 'Only the registry itself is asked to delete');
    const network = namedNetwork(url.hostname);
    if (network !== undefined && !this.reaches(url, network)) throw this.outOfReach(url, network, subject);
  }

  /** Whether a request to the URL may go to an address in this network. */
  reaches(url: URL, network: Network): boolean {
    if (this.#isOwn(url) || network === 'public' || network === this.#network) return true;
    const allowed = settingsOf(this.#settings, this.#host)?.allow ?? [];
    return allowed.includes(url.host) || allowed.includes(`${url.hostname}:${portOf(url)}`);
  }

  /** The error for a request that would go to such an address. */
  outOfReach(url: URL, network: Network, subject: Subject): LayerstackError {
    return refused(
      url,
      subject,
      `is ${PLACES[network]}, where the registry itself is not`,
      `If it belongs to the registry, add "allow": [${JSON.stringify(url.host)}] to ${JSON.stringify(this.#host)} in ${this.#settings.path}`,
    );
  }

  lookup(url: URL): LookupFunction {
    return lookupWithin((network) => this.reaches(url, network));
  }

  /**
   * A connection to the URL is there, at this address. Of the registry itself it says where the registry is, once; but that it is on
   * this machine only its name can say, not who answers for its name.
   */
  connected(url: URL, address: string | undefined): void {
    if (address !== undefined && this.#isOwn(url))
      this.#network ??= networkOf(address) === 'private' ? 'private' : 'public';
  }

  #isOwn(url: URL): boolean {
    return url.host === new URL(`${url.protocol}//${this.#host}`).host;
  }
}

/**
 * Looks a host up for connecting: gives only addresses in networks that are open, and those are connected to, whatever the name
 * means a moment later. Fails with an {@link AddressOutOfReach} where none is left.
 */
export function lookupWithin(isOpen: (network: Network) => boolean): LookupFunction {
  return (hostname, options, callback) => {
    systemLookup(hostname, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, []);
      const open = found.filter(({ address }) => isOpen(networkOf(address)));
      const [first] = open;
      if (!first) return callback(new AddressOutOfReach(networkOf(found[0]?.address ?? '')), []);
      return options.all === true ? callback(null, open) : callback(null, first.address, first.family);
    });
  };
}

/** A name whose addresses are all where a request may not go. */
export class AddressOutOfReach extends Error {
  readonly network: Network;

  constructor(network: Network) {
    super(`the address is ${PLACES[network]}`);
    this.network = network;
  }
}

function refused(url: URL, subject: Subject, why: string, hint: string): LayerstackError {
  return registryError(
    'ERR_REGISTRY_INVALID',
    subject,
    `${subject.registry} sends us to ${redactUrl(url)}, which ${why}. ${hint}`,
  );
}

function portOf({ port, protocol }: URL): string {
  return port || (protocol === 'https:' ? '443' : '80');
}
