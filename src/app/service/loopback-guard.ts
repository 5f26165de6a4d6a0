/**
 * What a browser could be made to send to a loopback port is refused: a page of the web may post forms to 127.0.0.1, or point
 * a name of its own there (DNS rebinding). Clients of docker name the address that they were told, and no origin.
 */
import type { IncomingMessage } from 'node:http';
import { isLoopback } from './hosts.ts';
import { HttpError } from './status.ts';

/** @throws {@link HttpError} 403 */
export function refuseBrowsers({ headers, url = '' }: Pick<IncomingMessage, 'headers' | 'url'>): void {
  // A request as to a proxy names the host in its URL, and that one counts.
  const host = /^https?:\/\/([^/?#]*)/i.exec(url)?.[1] ?? headers.host ?? '';
  const name = host.replace(/:\d{1,5}$/, '').replace(/^\[(.*)\]$/, '$1');
  if (name.toLowerCase() !== 'localhost' && !isLoopback(name))
    throw new HttpError(
      403,
      `the Host header names ${JSON.stringify(name)}, which is not this service's address`,
    );
  if (headers.origin !== undefined)
    throw new HttpError(403, 'this service answers no web pages (the request has an Origin header)');
  // Browsers leave Origin out where a page only shows or loads something; this header they always send to loopback. `none` is
  // what somebody types himself.
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'none')
    throw new HttpError(
      403,
      `this service answers no web pages (the request has Sec-Fetch-Site: ${String(site)})`,
    );
}
