/**
 * Probes what this process can do on the file system of a store, and makes the choices that follow from it.
 * Each probe runs once per process and file system (native/sys/probe); nothing is guessed from a version.
 * `LAYERSTACK_CAPS` overrides a choice, so that each can be tested on any kernel:
 * `mount=mount,zstd=js,openat2=no`.
 */
import { stat } from 'node:fs/promises';
import { LayerstackError } from '../core/errors.ts';
import { call, native, type ErofsMethod, type GzipEncoder, type MountMethod, type Probe } from './native.ts';

/** The choices for one file system. */
export interface Capabilities {
  readonly mountMethod: MountMethod;
  /** The decompressor of zstd: a native library, or JavaScript in a worker thread. */
  readonly zstd: 'native' | 'js';
  /** The compressor of gzip. */
  readonly gzip: GzipEncoder;
  readonly probe: Probe;
  /** The options of every overlay mount of this store. */
  readonly overlayOptions: readonly string[];
}

/** The keys of `LAYERSTACK_CAPS`. Native code obeys `openat2` when the addon is loaded. */
export interface CapsOverrides {
  readonly mount?: MountMethod;
  readonly zstd?: 'native' | 'js';
  readonly gzip?: GzipEncoder;
  readonly openat2?: boolean;
  readonly erofs?: ErofsMethod | 'none';
}

/** The values of each key. `none` means the same as `js`: no native library. */
const KNOWN = {
  mount: { fsconfig: 'fsconfig', mount: 'mount', flat: 'flat' },
  zstd: { native: 'native', js: 'js', none: 'js' },
  gzip: { libdeflate: 'libdeflate', zlib: 'zlib' },
  openat2: { yes: true, no: false },
  erofs: { file: 'file', loop: 'loop', none: 'none' },
} as const;

/**
 * Reads the text of `LAYERSTACK_CAPS`.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for an unknown key or value, naming the known ones.
 */
export function parseCapsOverrides(text: string): CapsOverrides {
  const overrides: Record<string, unknown> = {};
  for (const item of text.split(',').filter((part) => part !== '')) {
    const [key = '', value = ''] = item.split('=', 2);
    const values = new Map<string, unknown>(
      Object.entries(Object.entries(KNOWN).find(([k]) => k === key)?.[1] ?? {}),
    );
    if (!values.has(value)) {
      const known = Object.entries(KNOWN).map(([k, v]) => `${k}=${Object.keys(v).join('|')}`);
      throw new LayerstackError(
        'ERR_INVALID_ARGUMENT',
        `LAYERSTACK_CAPS: '${item}' is unknown; use ${known.join(', ')}`,
      );
    }
    overrides[key] = values.get(value);
  }
  return overrides;
}

function chooseMountMethod(probe: Probe): MountMethod {
  if (probe.lowerdirAppend) return 'fsconfig';
  return probe.multipleLowers ? 'mount' : 'flat';
}

/**
 * Returns the options of overlay mounts. `index=off`, as in dockerd, wherever the kernel knows the option: an
 * index ties an upper to its lowers by file handles, so a copied store could not be mounted.
 *
 * `redirect_dir=off` and `metacopy=off` only where the module's default is on. With these defaults, a rename
 * of an image's directory or a chmod of its file leaves only a pointer into the lowers in the upper, which a
 * layer tar cannot carry. dockerd on such a host compares whole trees instead of reading uppers. With `off`
 * the kernel behaves as it does by default on other hosts: the rename fails with EXDEV, so programs copy, and
 * the chmod copies the whole file. Uppers that dockerd made on such a host stay usable. The kernel still
 * follows redirects in them, and refuses to open a file whose data was never copied up.
 */
function chooseOptions(probe: Probe): string[] {
  const options: string[] = [];
  if (probe.indexParameter) options.push('index=off');
  if (probe.redirectDir) options.push('redirect_dir=off');
  if (probe.metacopy) options.push('metacopy=off');
  return options;
}

/** Returns the choices that follow from a probe, unless `overrides` has others. */
export function chooseCapabilities(probe: Probe, overrides: CapsOverrides = {}): Capabilities {
  return {
    mountMethod: overrides.mount ?? chooseMountMethod(probe),
    zstd: overrides.zstd ?? (probe.zstd === 'none' ? 'js' : 'native'),
    gzip: overrides.gzip ?? (probe.libdeflate === 'none' ? 'zlib' : 'libdeflate'),
    probe,
    overlayOptions: chooseOptions(probe),
  };
}

const probes = new Map<number, Promise<Probe>>();

/**
 * Returns the capabilities for `dir`, a directory of the store. The first call for a file system probes it,
 * in a scratch directory below `dir` that is removed afterwards. That takes about two milliseconds.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT when `LAYERSTACK_CAPS` cannot be read; a system error
 *   when the scratch directory cannot be made.
 */
export async function probeCapabilities(dir: string): Promise<Capabilities> {
  const overrides = parseCapsOverrides(process.env['LAYERSTACK_CAPS'] ?? '');
  const { dev } = await stat(dir);
  let probe = probes.get(dev);
  if (!probe) {
    probe = call(native.probe(dir));
    probes.set(dev, probe);
    // A failure may be due to this directory or a passing condition, so the next call probes again.
    probe.catch(() => probes.delete(dev));
  }
  return chooseCapabilities(await probe, overrides);
}

const erofsMethods = new Map<number, Promise<ErofsMethod | null>>();

/**
 * Returns how an archive on the file system of `dir` can be mounted in place; `none` if it cannot. The first
 * call for a file system tries it with files without names, which takes one or two milliseconds.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT when `LAYERSTACK_CAPS` cannot be read; system errors.
 */
export async function probeErofs(dir: string): Promise<ErofsMethod | 'none'> {
  const { erofs } = parseCapsOverrides(process.env['LAYERSTACK_CAPS'] ?? '');
  if (erofs !== undefined) return erofs;
  const { dev } = await stat(dir);
  let method = erofsMethods.get(dev);
  if (!method) {
    method = call(native.probeErofs(dir));
    erofsMethods.set(dev, method);
    method.catch(() => erofsMethods.delete(dev));
  }
  return (await method) ?? 'none';
}
