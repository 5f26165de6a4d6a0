/**
 * Addresses that the service listens on, in dockerd's words: `unix:///run/layerstack.sock`,
 * `tcp://127.0.0.1:2375`, `fd://` for the sockets that systemd holds (`fd://NAME`: those of one
 * FileDescriptorName).
 */
import { isIPv4, isIPv6 } from 'node:net';
import { LayerstackError } from '../../core/errors.ts';

export type Host =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly address: string; readonly port: number }
  | { readonly kind: 'fd'; readonly name?: string };

/** The address of the service if no `--host` is given. */
export const DEFAULT_HOST = 'unix:///run/layerstack.sock';

/** The kernel's sun_path, without its terminator. */
const MAX_SOCKET_PATH = 107;

/**
 * Parses one `--host`.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT with a valid alternative, or with the reason if other
 *   machines reach the address.
 */
export function parseHost(text: string): Host {
  const [, scheme = '', rest = ''] = /^([a-z]+):\/\/(.*)$/s.exec(text) ?? [];
  switch (scheme) {
    case 'unix':
      return unixHost(text, rest);
    case 'tcp':
      return tcpHost(text, rest);
    case 'fd':
      return { kind: 'fd', ...(rest !== '' && rest !== '*' && { name: rest }) };
    default:
      throw invalid(text, `write ${DEFAULT_HOST}, tcp://127.0.0.1:2375 or fd://`);
  }
}

/** Formats a host as `--host` takes it. */
export function formatHost(host: Host): string {
  switch (host.kind) {
    case 'unix':
      return `unix://${host.path}`;
    case 'tcp':
      return `tcp://${isIPv6(host.address) ? `[${host.address}]` : host.address}:${host.port}`;
    case 'fd':
      return `fd://${host.name ?? ''}`;
  }
}

/** Whether only this machine reaches the address. */
export function isLoopback(address: string): boolean {
  return address === '::1' || (isIPv4(address) && address.startsWith('127.'));
}

function unixHost(text: string, path: string): Host {
  if (!path.startsWith('/') || path.endsWith('/') || path.includes('\0'))
    throw invalid(text, `the path must be absolute, as in ${DEFAULT_HOST}`);
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_SOCKET_PATH)
    throw invalid(
      text,
      `the path has ${bytes} bytes, but the kernel takes at most ${MAX_SOCKET_PATH}: choose a shorter one`,
    );
  return { kind: 'unix', path };
}

function tcpHost(text: string, rest: string): Host {
  const [, bracketed, plain, digits = ''] =
    /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/]*)):(\d{1,5})$/.exec(rest) ?? [];
  const port = Number(digits);
  if (digits === '' || port > 65_535) throw invalid(text, 'write tcp://ADDRESS:PORT');
  const named = bracketed ?? plain ?? '';
  const address = named === 'localhost' ? '127.0.0.1' : named;
  if (isLoopback(address)) return { kind: 'tcp', address, port };
  throw invalid(
    text,
    'the API gives each of its clients root on this machine and authenticates none, so it listens on loopback ' +
      'addresses only; from elsewhere use ssh: docker -H ssh://USER@MACHINE, or ssh -L 2375:/run/layerstack.sock MACHINE',
  );
}

function invalid(text: string, advice: string): LayerstackError {
  return new LayerstackError('ERR_INVALID_ARGUMENT', `--host ${JSON.stringify(text)}: ${advice}`);
}
