/**
 * Refuses requests that a browser could be made to send to a loopback port: a page of the web may post forms
 * to 127.0.0.1, or point a name of its own there (DNS rebinding). docker's clients send the address that they
 * were given as Host, and no Origin.
 */
import type { IncomingMessage } from 'node:http';
import { isLoopback } from './hosts.ts';
import { HttpError } from './status.ts';

/** @throws {@link HttpError} 403 */
export function refuseBrowsers({ headers, url = '' }: Pick<IncomingMessage, 'headers' | 'url'>): void {
  // A request in the form for a proxy has the host in its URL, and that host counts.
  const host = /^https?:\/\/([^/?#]*)/i.exec(url)?.[1] ?? headers.host ?? '';
  const name = host.replace(/:\d{1,5}$/, '').replace(/^\[(.*)\]$/, '$1');
  if (name.toLowerCase() !== 'localhost' && !isLoopback(name))
    throw new HttpError(
      403,
      `the Host header names ${JSON.stringify(name)}, which is not this service's address`,
    );
  if (headers.origin !== undefined)
    throw new HttpError(403, 'this service does not answer web pages (the request has an Origin header)');
  // Browsers omit Origin if a page only shows or loads something, but they always send this header to
  // loopback. `none` means that the user typed the address.
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'none')
    throw new HttpError(
      403,
      `this service does not answer web pages (the request has Sec-Fetch-Site: ${String(site)})`,
    );
}
