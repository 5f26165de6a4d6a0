/**
 * Makes the seccomp filter of a container from docker's default profile, or from a profile in docker's format
 * (`--security-opt seccomp=FILE`). Evaluates the conditions of a profile (capabilities, architecture,
 * kernel), as dockerd does before it calls a runtime. Mirrors `moby/moby: profiles/seccomp/seccomp_linux.go`.
 */
import { Buffer } from 'node:buffer';
import { LayerstackError } from '../../core/errors.ts';
import { list, pointer, readGo, struct } from '../../core/go-read.ts';
import {
  ALLOWED,
  ALLOWED_BY_ARCH,
  ALLOWED_BY_CAPABILITY,
  ALLOWED_SINCE,
  ARCHITECTURES,
  NAMESPACE_FLAGS,
  PERSONALITIES,
  REFUSED_SOCKET_FAMILY,
} from './seccomp-table.ts';
import type { Whole } from './settings.ts';

/** `linux.seccomp` of the runtime configuration. */
export interface Seccomp {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures?: readonly string[];
  readonly flags?: readonly string[];
  readonly listenerPath?: string;
  readonly listenerMetadata?: string;
  readonly syscalls: readonly SeccompRule[];
}

interface SeccompRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly { index: number; value: Whole; valueTwo?: Whole; op: string }[];
}

/** The facts by which the conditions of a profile are evaluated. */
export interface SeccompFacts {
  /** The container's capabilities. */
  readonly capabilities: readonly string[];
  /** Node's name of the architecture. */
  readonly arch: string;
  /** `uname -r` */
  readonly kernel: string;
}

interface Condition {
  readonly caps?: readonly string[] | null;
  readonly arches?: readonly string[] | null;
  readonly minKernel?: string;
}

interface ProfileRule {
  readonly name?: string;
  readonly names?: readonly string[] | null;
  readonly action?: string;
  readonly errnoRet?: number | null;
  readonly args?: readonly { index?: number; value?: Whole; valueTwo?: Whole; op?: string }[] | null;
  readonly includes?: Condition | null;
  readonly excludes?: Condition | null;
}

/** A profile in docker's format. */
export interface SeccompProfile {
  readonly defaultAction?: string;
  readonly defaultErrnoRet?: number | null;
  readonly architectures?: readonly string[] | null;
  readonly archMap?: readonly { architecture?: string; subArchitectures?: readonly string[] | null }[] | null;
  readonly flags?: readonly string[] | null;
  readonly listenerPath?: string;
  readonly listenerMetadata?: string;
  readonly syscalls?: readonly (ProfileRule | null)[] | null;
}

const strings = list('string');
const CONDITION = pointer(struct({ caps: strings, arches: strings, minKernel: 'string' }));
const PROFILE = struct({
  defaultAction: 'string',
  defaultErrnoRet: pointer('uint32'),
  architectures: strings,
  archMap: list(struct({ architecture: 'string', subArchitectures: strings })),
  flags: strings,
  listenerPath: 'string',
  listenerMetadata: 'string',
  syscalls: list(
    pointer(
      struct({
        name: 'string',
        names: strings,
        action: 'string',
        errnoRet: pointer('uint32'),
        args: list(struct({ index: 'uint32', value: 'uint64', valueTwo: 'uint64', op: 'string' })),
        includes: CONDITION,
        excludes: CONDITION,
      }),
    ),
  ),
});
/** Far above any real profile. */
const MAX_BYTES = 4 * 1024 * 1024;

const ALLOW = 'SCMP_ACT_ALLOW';
const FAIL = 'SCMP_ACT_ERRNO';
const EPERM = 1;
const ENOSYS = 38;

/** Go's names of architectures, which profiles use. */
const GO_ARCHS: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' };

/**
 * Reads a profile in docker's format.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT naming the fault.
 */
export function parseSeccompProfile(text: string): SeccompProfile {
  const source = { what: 'the seccomp profile', code: 'ERR_INVALID_ARGUMENT', maxBytes: MAX_BYTES } as const;
  const profile = readGo(PROFILE, Buffer.from(text), source) as SeccompProfile;
  const wrong = (why: string): never => {
    throw new LayerstackError('ERR_INVALID_ARGUMENT', `the seccomp profile: ${why}`);
  };
  if (!profile.defaultAction) wrong('defaultAction is missing');
  if (profile.architectures?.length && profile.archMap?.length)
    wrong('it has both architectures and archMap; one is allowed');
  for (const rule of profile.syscalls ?? []) {
    if (rule?.name && rule.names?.length) wrong('a rule has both name and names; one is allowed');
    for (const { minKernel } of [rule?.includes ?? {}, rule?.excludes ?? {}])
      if (minKernel && !KERNEL.test(minKernel))
        wrong(`minKernel ${JSON.stringify(minKernel)} is not of the form VERSION.MAJOR`);
  }
  return profile;
}

/** Returns the filter of a profile for the facts. */
export function seccompOf(profile: SeccompProfile, facts: SeccompFacts): Seccomp {
  const { defaultAction = '', defaultErrnoRet, listenerPath, listenerMetadata } = profile;
  const architectures = architecturesOf(profile, facts.arch);
  const rules = (profile.syscalls ?? []).filter((rule) => rule !== null);
  return {
    defaultAction,
    ...(typeof defaultErrnoRet === 'number' && { defaultErrnoRet }),
    ...(architectures.length > 0 && { architectures }),
    ...(profile.flags?.length && { flags: profile.flags }),
    ...(listenerPath && { listenerPath }),
    ...(listenerMetadata && { listenerMetadata }),
    syscalls: rules.filter((rule) => applies(rule, facts)).map(ruleOf),
  };
}

/** Returns the filter of docker's default profile. */
export function defaultSeccomp(facts: SeccompFacts): Seccomp {
  const { arch, kernel, capabilities } = facts;
  const has = new Set(capabilities);
  const allow = (names: readonly string[]): SeccompRule => ({ names, action: ALLOW });
  const when = (name: string, argument: Omit<Argument, 'index'>, index = 0): SeccompRule => ({
    ...allow([name]),
    args: [{ index, ...argument }],
  });
  const since = Object.entries(ALLOWED_SINCE).filter(([version]) => isAtLeast(kernel, version));
  const byCapability = Object.entries(ALLOWED_BY_CAPABILITY).filter(([name]) => has.has(name));
  const byArch = ALLOWED_BY_ARCH[arch] ?? [];
  // On s390, the flags are the second argument of clone.
  const withoutNamespaces = when(
    'clone',
    { value: NAMESPACE_FLAGS, op: 'SCMP_CMP_MASKED_EQ' },
    arch === 's390x' ? 1 : 0,
  );
  return {
    defaultAction: FAIL,
    defaultErrnoRet: EPERM,
    ...(ARCHITECTURES[arch] && { architectures: ARCHITECTURES[arch] }),
    syscalls: [
      allow(ALLOWED),
      ...since.map(([, names]) => allow(names)),
      when('socket', { value: REFUSED_SOCKET_FAMILY, op: 'SCMP_CMP_NE' }),
      ...PERSONALITIES.map((value) => when('personality', { value, op: 'SCMP_CMP_EQ' })),
      ...(byArch.length > 0 ? [allow(byArch)] : []),
      // The flags of clone3 are in memory, where a filter cannot read them. With ENOSYS, libraries fall back
      // to clone.
      ...(has.has('CAP_SYS_ADMIN')
        ? []
        : [withoutNamespaces, { names: ['clone3'], action: FAIL, errnoRet: ENOSYS }]),
      ...byCapability.map(([, names]) => allow(names)),
    ],
  };
}

type Argument = NonNullable<SeccompRule['args']>[number];

function architecturesOf({ architectures, archMap }: SeccompProfile, arch: string): readonly string[] {
  if (architectures?.length) return architectures;
  const native = ARCHITECTURES[arch]?.[0];
  return (archMap ?? [])
    .filter(({ architecture }) => architecture !== undefined && architecture === native)
    .flatMap(({ architecture = '', subArchitectures }) => [architecture, ...(subArchitectures ?? [])]);
}

/** Returns whether a rule applies: all conditions of `includes` hold, and none of `excludes`. */
function applies({ includes, excludes }: ProfileRule, { capabilities, arch, kernel }: SeccompFacts): boolean {
  const goArch = GO_ARCHS[arch] ?? arch;
  const has = (name: string): boolean => capabilities.includes(name);
  const out = excludes ?? {};
  if (out.arches?.includes(goArch) || out.caps?.some(has)) return false;
  if (out.minKernel && isAtLeast(kernel, out.minKernel)) return false;
  const only = includes ?? {};
  if (only.arches?.length && !only.arches.includes(goArch)) return false;
  if (only.minKernel && !isAtLeast(kernel, only.minKernel)) return false;
  return only.caps?.every(has) ?? true;
}

function ruleOf({ name, names, action = '', errnoRet, args }: ProfileRule): SeccompRule {
  return {
    names: name ? [name] : (names ?? []),
    action,
    ...(typeof errnoRet === 'number' && { errnoRet }),
    ...(args?.length && {
      args: args.map(({ index = 0, value = 0, valueTwo = 0, op = '' }) => ({
        ...{ index, value },
        ...(valueTwo !== 0 && { valueTwo }),
        op,
      })),
    }),
  };
}

const KERNEL = /^(\d+)\.(\d+)/;

function isAtLeast(kernel: string, least: string): boolean {
  const [[, version, major], [, leastVersion, leastMajor]] = [
    KERNEL.exec(kernel) ?? [],
    KERNEL.exec(least) ?? [],
  ].map((match) => match.map(Number)) as [number[], number[]];
  const difference = Number(version) - Number(leastVersion);
  return difference > 0 || (difference === 0 && Number(major) >= Number(leastMajor));
}
