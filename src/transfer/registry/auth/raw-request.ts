/** The HTTP interface of this folder: one exchange at a time, through the registry's transport. */

export interface RawResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Uint8Array;
}

/**
 * Makes one plain HTTP exchange (TLS, proxy and timeouts are the transport's). Follows no redirect.
 * @throws {@link LayerstackError} ERR_LIMIT_EXCEEDED for a body above `maxBytes`, ERR_REGISTRY_UNAVAILABLE,
 *   ERR_ABORTED.
 */
export type RawRequest = (
  url: URL,
  init: {
    readonly method: 'GET' | 'POST';
    readonly headers: Record<string, string>;
    readonly body?: string;
    readonly signal?: AbortSignal | undefined;
    readonly maxBytes: number;
  },
) => Promise<RawResponse>;

/** Returns the first value of a header, by its lower-case name. */
export function headerOf(response: Pick<RawResponse, 'headers'>, name: string): string | undefined {
  const value = response.headers[name];
  return typeof value === 'string' ? value : value?.[0];
}
