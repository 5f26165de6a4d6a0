/**
 * Parses platforms (`os/architecture[/variant]`) and picks the entry of an index that suits one. Names are
 * Go's (`amd64`, `arm64`); other spellings are normalised. The ranking mirrors `containerd/platforms`: the
 * wanted platform comes first, then the others that its processor runs.
 */
import { LayerstackError } from './errors.ts';

/** A platform in normalised form. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

const PART = /^[A-Za-z0-9_.-]+$/;

/** Other names of an architecture, with the variant that the name implies. */
const ARCHITECTURES: ReadonlyMap<string, { readonly architecture: string; readonly variant?: string }> =
  new Map([
    ['i386', { architecture: '386' }],
    ['i686', { architecture: '386' }],
    ['x86_64', { architecture: 'amd64' }],
    ['x86-64', { architecture: 'amd64' }],
    ['aarch64', { architecture: 'arm64' }],
    ['armhf', { architecture: 'arm', variant: 'v7' }],
    ['armel', { architecture: 'arm', variant: 'v6' }],
  ]);

/** Other names of an operating system. */
const OPERATING_SYSTEMS: ReadonlyMap<string, string> = new Map([['macos', 'darwin']]);

/** Node's names where they differ from Go's. */
const NODE_ARCHITECTURES: ReadonlyMap<string, string> = new Map([
  ['x64', 'amd64'],
  ['ia32', '386'],
]);

/** Returns the platform in Go's names, without the variant that its architecture implies. */
export function normalizePlatform(platform: Platform): Platform {
  const os = OPERATING_SYSTEMS.get(platform.os.toLowerCase()) ?? platform.os.toLowerCase();
  const named = platform.architecture.toLowerCase();
  const known = ARCHITECTURES.get(named);
  const architecture = known?.architecture ?? named;
  const given = platform.variant?.toLowerCase() || known?.variant;
  const variant = normalizeVariant(architecture, given);
  return variant === undefined ? { os, architecture } : { os, architecture, variant };
}

function normalizeVariant(architecture: string, variant: string | undefined): string | undefined {
  if (architecture === 'arm64') return variant === '8' || variant === 'v8' ? undefined : variant;
  if (architecture === 'amd64') return variant === 'v1' ? undefined : variant;
  if (architecture === '386') return undefined;
  // An arm without a variant means the most common variant.
  if (architecture === 'arm') {
    if (variant === undefined) return 'v7';
    return /^[5-8]$/.test(variant) ? `v${variant}` : variant;
  }
  return variant;
}

/** The names that Go and OCI know. Any other name counts as misspelt. */
const KNOWN_OS = new Set(
  [
    'aix',
    'android',
    'darwin',
    'dragonfly',
    'freebsd',
    'hurd',
    'illumos',
    'ios',
    'js',
    'linux',
    'nacl',
    'netbsd',
  ].concat([...['openbsd', 'plan9', 'solaris', 'wasip1', 'windows', 'zos']]),
);
const KNOWN_ARCHITECTURES = new Set(
  [
    '386',
    'amd64',
    'amd64p32',
    'arm',
    'armbe',
    'arm64',
    'arm64be',
    'loong64',
    'mips',
    'mipsle',
    'mips64',
    'mips64le',
  ].concat([
    ...[
      'mips64p32',
      'mips64p32le',
      'ppc',
      'ppc64',
      'ppc64le',
      'riscv',
      'riscv64',
      's390',
      's390x',
      'sparc',
      'sparc64',
      'wasm',
    ],
  ]),
);

/**
 * Parses `os/architecture[/variant]`, e.g. `linux/arm64/v8`, or one part alone: `amd64` means linux/amd64,
 * and `windows` means windows on this machine's architecture.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT when the text is not of that form, or its only part is
 *   unknown.
 */
export function parsePlatform(text: string): Platform {
  const parts = text.split('/');
  const [first = '', second, variant] = parts;
  if (!PART.test(first)) refuse(text, `${JSON.stringify(first)} is an invalid OS component`);
  for (const part of parts.slice(1))
    if (!PART.test(part)) refuse(text, `${JSON.stringify(part)} is an invalid component`);
  if (parts.length > 3) refuse(text, 'it has more than three components');
  if (second === undefined) return parseLonePart(text);
  return normalizePlatform({
    os: first,
    architecture: second,
    ...(variant === undefined ? {} : { variant }),
  });
}

function parseLonePart(text: string): Platform {
  const host = hostPlatform();
  const { os } = normalizePlatform({ ...host, os: text });
  if (KNOWN_OS.has(os)) return { ...host, os };
  const platform = normalizePlatform({ os: 'linux', architecture: text });
  if (!KNOWN_ARCHITECTURES.has(platform.architecture))
    refuse(text, 'unknown operating system or architecture');
  return platform;
}

/**
 * {@link parsePlatform} for the platform of a wanted image.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT also where the platform does not exist.
 */
export function parseKnownPlatform(text: string): Platform {
  const platform = parsePlatform(text);
  const { os, architecture } = platform;
  if (!KNOWN_OS.has(os)) refuse(text, `unknown operating system ${JSON.stringify(os)}`);
  if (!KNOWN_ARCHITECTURES.has(architecture))
    refuse(text, `unknown architecture ${JSON.stringify(architecture)}`);
  return platform;
}

/** The message is containerd's, because clients match on it. */
function refuse(text: string, why: string): never {
  throw new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    `invalid platform ${JSON.stringify(text)}: ${why}; give OS/ARCHITECTURE[/VARIANT], e.g. linux/arm64`,
    { found: text },
  );
}

/** Formats a platform as `os/architecture[/variant]`. */
export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = platform;
  return variant ? `${os}/${architecture}/${variant}` : `${os}/${architecture}`;
}

/** The platform of this process. */
export function hostPlatform(): Platform {
  const architecture = NODE_ARCHITECTURES.get(process.arch) ?? process.arch;
  if (architecture !== 'arm') return normalizePlatform({ os: 'linux', architecture });
  const version = (process.config.variables as { arm_version?: string | number }).arm_version;
  return normalizePlatform({ os: 'linux', architecture, ...(version ? { variant: `v${version}` } : {}) });
}

/** Returns the platforms that run on `wanted`, the best one first. */
function runnable(wanted: Platform): Platform[] {
  const { os, architecture, variant } = normalizePlatform(wanted);
  const exact: Platform = variant === undefined ? { os, architecture } : { os, architecture, variant };
  const level = Number(variant?.match(/^v(\d+)/)?.[1]);
  const lower = (from: number, to: number): Platform[] =>
    Array.from({ length: Math.max(0, from - to + 1) }, (_, i) =>
      normalizePlatform({ os, architecture, variant: `v${from - i}` }),
    );
  if (architecture === 'amd64') {
    return [exact, ...(level > 1 ? lower(level - 1, 1) : []), { os, architecture: '386' }];
  }
  if (architecture === 'arm') return [exact, ...(level > 5 ? lower(level - 1, 5) : [])];
  if (architecture === 'arm64') {
    const generic: Platform[] = variant === undefined ? [] : [{ os, architecture }];
    return [exact, ...generic, ...runnable({ os, architecture: 'arm', variant: 'v8' })];
  }
  return [exact];
}

/**
 * Returns the entry of `list` that suits `wanted` best, or undefined. Among equals the first one wins. An
 * entry without a platform may be for any platform, so it is chosen only where no other suits.
 */
export function matchPlatform<T extends { readonly platform?: Platform | undefined }>(
  list: readonly T[],
  wanted: Platform,
): T | undefined {
  for (const candidate of runnable(wanted).map(formatPlatform)) {
    const found = list.find(
      (entry) => entry.platform && formatPlatform(normalizePlatform(entry.platform)) === candidate,
    );
    if (found) return found;
  }
  return list.find((entry) => entry.platform === undefined);
}
