/**
 * Decides where requests may go that a registry (or a mirror) causes. The user chooses the registry itself.
 * The registry chooses every other place: the storage for uploads and blobs, and its token server. Through us
 * it must not reach a place that it could not reach itself, nor delete anything but its own data
 * (docs/architecture.md, "Where a registry may send us").
 */
import { lookup as systemLookup } from 'node:dns';
import type { LookupFunction } from 'node:net';
import type { LayerstackError } from '../../core/errors.ts';
import { isLoopback } from './address.ts';
import { registryError, type Subject } from './error.ts';
import { namedNetwork, networkOf, type Network } from './network.ts';
import { redactUrl } from './redact.ts';
import { settingsOf, type RegistrySettings } from './settings.ts';

/** Decides where the requests of a {@link Transport} may go. */
export interface EgressPolicy {
  /** Returns whether certificates of this `HOST[:PORT]` are not checked. */
  isInsecure(host: string): boolean;
  /** Checks a request before it is sent, without looking up an address. */
  check(url: URL, request: { readonly method: string; readonly subject: Subject }): void;
  /** Returns the error for a request to an address in a forbidden network. */
  outOfReach(url: URL, network: Network, subject: Subject): LayerstackError;
  /** Returns a lookup for connections that yields only addresses that a request to `url` may go to. */
  lookup(url: URL): LookupFunction;
  /** Reports a connection to the URL, at this address. */
  connected(url: URL, address: string | undefined): void;
}

/** Describes where an address is. */
export const PLACES: Readonly<Record<Network, string>> = {
  loopback: 'on this machine',
  'link-local': 'on the link of this machine',
  private: 'in a private network',
  reserved: 'at a reserved address',
  public: 'on the internet',
};

export class Egress implements EgressPolicy {
  readonly #settings: RegistrySettings;
  readonly #host: string;
  /** The registry's own connections are unprotected, so unprotected connections elsewhere lose nothing. */
  readonly #plain: boolean;
  #network: Network | undefined;

  /**
   * @param host `HOST[:PORT]` of the registry
   * @param http whether the registry speaks plain HTTP, even if the settings do not allow it
   */
  constructor(settings: RegistrySettings, host: string, http = false) {
    this.#settings = settings;
    this.#host = host;
    this.#network = namedNetwork(new URL(`http://${host}`).hostname);
    this.#plain = http || this.isInsecure(host);
  }

  /**
   * Returns whether certificates of this `HOST[:PORT]` are not checked, and plain HTTP may be used, for
   * passwords too. True by default on this machine, unless a registry elsewhere sends us here.
   */
  isInsecure(host: string): boolean {
    return settingsOf(this.#settings, host)?.insecure ?? (isLoopback(host) && isLoopback(this.#host));
  }

  /**
   * Checks a request before it is sent, without looking up an address.
   * @throws {@link LayerstackError} ERR_REGISTRY_INVALID.
   */
  check(url: URL, { method, subject }: { readonly method: string; readonly subject: Subject }): void {
    if (url.protocol === 'http:' && !this.#plain && !this.isInsecure(url.host))
      throw refused(
        url,
        subject,
        'is not encrypted: the network could read and change what is sent there',
        `To allow it, set "insecure": true for ${JSON.stringify(url.host)} in ${this.#settings.path}`,
      );
    if (this.#isOwn(url)) return;
    if (method === 'DELETE')
      throw refused(url, subject, 'is another server', 'Only the registry itself is asked to delete');
    const network = namedNetwork(url.hostname);
    if (network !== undefined && !this.reaches(url, network)) throw this.outOfReach(url, network, subject);
  }

  /** Returns whether a request to the URL may go to an address in this network. */
  reaches(url: URL, network: Network): boolean {
    if (this.#isOwn(url) || network === 'public' || network === this.#network) return true;
    const allowed = settingsOf(this.#settings, this.#host)?.allow ?? [];
    return allowed.includes(url.host) || allowed.includes(`${url.hostname}:${portOf(url)}`);
  }

  /** Returns the error for a request to an address in a forbidden network. */
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
   * Reports a connection to the URL, at this address. The first connection to the registry itself shows in
   * which network the registry is. A registry counts as on this machine only by its name, never by the
   * address that the name resolves to.
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
 * Returns a lookup for connections that yields only addresses in open networks. The connection uses these
 * addresses, even if the name resolves to others a moment later. Fails with an {@link AddressOutOfReach}
 * where no address is left.
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

/** A name whose addresses are all in forbidden networks. */
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
