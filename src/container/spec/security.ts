/**
 * Parses Docker's `SecurityOpt`: `NAME=VALUE`, or the deprecated `NAME:VALUE`. Mirrors
 * `moby/moby: daemon/daemon_unix.go` (parseSecurityOpt).
 */
import { LayerstackError } from '../../core/errors.ts';
import { parseSeccompProfile, type SeccompProfile } from './seccomp.ts';

export interface SecurityOptions {
  readonly noNewPrivileges: boolean;
  readonly seccomp: 'default' | 'unconfined' | SeccompProfile;
  /** Name of an AppArmor profile, or `unconfined`. */
  readonly apparmor: string | undefined;
  /** The values of `label` except `disable`: labels of SELinux. */
  readonly labels: readonly string[];
  readonly writableCgroups: boolean;
}

/**
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for options that docker refuses, and an invalid
 *   seccomp profile.
 */
export function parseSecurityOptions(options: readonly string[]): SecurityOptions {
  let result: SecurityOptions = {
    noNewPrivileges: false,
    seccomp: 'default',
    apparmor: undefined,
    labels: [],
    writableCgroups: false,
  };
  for (const option of options) result = { ...result, ...parse(option, result.labels) };
  return result;
}

function parse(option: string, labels: readonly string[]): Partial<SecurityOptions> {
  if (option === 'no-new-privileges') return { noNewPrivileges: true };
  if (option === 'disable') return {};
  const at = option.includes('=') ? option.indexOf('=') : option.indexOf(':');
  const [name, value] = at < 0 ? [option, undefined] : [option.slice(0, at), option.slice(at + 1)];
  if (value === undefined) return refuse(1, option);
  if (name === 'no-new-privileges') return { noNewPrivileges: flag(option, value) };
  if (name === 'writable-cgroups') return { writableCgroups: flag(option, value) };
  if (name === 'apparmor') return { apparmor: value };
  if (name === 'label') return { labels: value === 'disable' ? labels : [...labels, value] };
  if (name === 'seccomp') return { seccomp: seccomp(value) };
  return refuse(2, option);
}

function seccomp(value: string): SecurityOptions['seccomp'] {
  if (value === 'unconfined') return 'unconfined';
  return value === 'builtin' ? 'default' : parseSeccompProfile(value);
}

/** Parses a boolean as Go's strconv.ParseBool does. */
function flag(option: string, value: string): boolean {
  if (/^(?:1|t|T|true|TRUE|True)$/.test(value)) return true;
  return /^(?:0|f|F|false|FALSE|False)$/.test(value) ? false : refuse(2, option);
}

function refuse(number: 1 | 2, option: string): never {
  throw new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    `invalid --security-opt ${number}: ${JSON.stringify(option)}`,
  );
}
