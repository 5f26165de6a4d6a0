import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { chooseCapabilities, parseCapsOverrides, probeCapabilities } from '../../../src/system/caps.ts';
import { native, type Probe } from '../../../src/system/native.ts';

const probe: Probe = {
  kernel: '6.18.0',
  uid: 0,
  sysAdmin: true,
  fsType: 'extfs',
  dType: true,
  trustedXattr: true,
  whiteouts: true,
  overlay: true,
  newMountApi: true,
  lowerdirAppend: true,
  multipleLowers: true,
  indexParameter: true,
  redirectDir: false,
  metacopy: false,
  openat2: true,
  sha256: 'openssl',
  inflate: 'node',
  zstd: 'libzstd',
  libdeflate: 'libdeflate',
};

describe('parseCapsOverrides', () => {
  test('reads known keys and values', () => {
    expect(parseCapsOverrides('')).toEqual({});
    expect(parseCapsOverrides('mount=flat,zstd=none,gzip=zlib,openat2=no')).toEqual({
      mount: 'flat',
      zstd: 'js',
      gzip: 'zlib',
      openat2: false,
    });
    expect(parseCapsOverrides('erofs=loop')).toEqual({ erofs: 'loop' });
    expect(parseCapsOverrides(',mount=mount,')).toEqual({ mount: 'mount' });
  });

  test.each([
    'mount',
    'mount=',
    'mount=best',
    'colour=blue',
    '=mount',
    '__proto__=x',
    'mount=toString',
    'zstd=node',
    'gzip=pigz',
  ])("refuses '%s' and lists the known ones", (text) => {
    expect(() => parseCapsOverrides(text)).toThrow(
      expect.objectContaining({
        code: 'ERR_INVALID_ARGUMENT',
        message: expect.stringMatching(
          /mount=fsconfig\|mount\|flat, zstd=native\|js\|none, gzip=libdeflate\|zlib, openat2=yes\|no, erofs=file\|loop\|none/,
        ) as string,
      }) as Error,
    );
  });
});

describe('chooseCapabilities', () => {
  test.each([
    [{}, 'fsconfig'],
    [{ lowerdirAppend: false }, 'mount'],
    [{ lowerdirAppend: false, newMountApi: false }, 'mount'],
    [{ lowerdirAppend: false, newMountApi: false, multipleLowers: false }, 'flat'],
  ] as const)('%o gives %s', (facts, method) => {
    expect(chooseCapabilities({ ...probe, ...facts }).mountMethod).toBe(method);
  });

  test('an override wins', () => {
    expect(chooseCapabilities(probe, { mount: 'flat', zstd: 'js' })).toMatchObject({
      mountMethod: 'flat',
      zstd: 'js',
    });
  });

  test('zstd is native if there is a library', () => {
    expect(chooseCapabilities({ ...probe, zstd: 'node' }).zstd).toBe('native');
    expect(chooseCapabilities({ ...probe, zstd: 'none' }).zstd).toBe('js');
  });

  test('gzip is made by libdeflate if there is one', () => {
    expect(chooseCapabilities(probe).gzip).toBe('libdeflate');
    expect(chooseCapabilities({ ...probe, libdeflate: 'none' }).gzip).toBe('zlib');
    expect(chooseCapabilities(probe, { gzip: 'zlib' }).gzip).toBe('zlib');
  });

  test('options switch off only defaults that are on, and name no unknown option', () => {
    expect(chooseCapabilities(probe).overlayOptions).toEqual(['index=off']);
    expect(chooseCapabilities({ ...probe, indexParameter: false }).overlayOptions).toEqual([]);
    expect(chooseCapabilities({ ...probe, redirectDir: true, metacopy: true }).overlayOptions).toEqual([
      'index=off',
      'redirect_dir=off',
      'metacopy=off',
    ]);
  });
});

describe('probeCapabilities', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'caps-'));
  });
  afterEach(async () => {
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
    await rm(dir, { recursive: true });
  });

  test('fails on a missing directory, and probes again', async () => {
    const missing = vi.spyOn(native, 'probe').mockRejectedValueOnce(new Error('full'));
    await expect(probeCapabilities(dir)).rejects.toThrow('full');
    await new Promise(setImmediate);
    expect((await probeCapabilities(dir)).probe.kernel).toMatch(/^\d+\.\d+/);
    expect(missing).toHaveBeenCalledTimes(2);
  });

  test('leaves nothing behind and tries once per file system', async () => {
    const probes = vi.spyOn(native, 'probe');
    const [a, b] = await Promise.all([probeCapabilities(dir), probeCapabilities(dir)]);
    expect(a.probe).toBe(b.probe);
    expect(probes.mock.calls.length).toBeLessThanOrEqual(1);
    expect(await readdir(dir)).toEqual([]);
  });

  test('honours LAYERSTACK_CAPS', async () => {
    vi.stubEnv('LAYERSTACK_CAPS', 'mount=flat');
    expect((await probeCapabilities(dir)).mountMethod).toBe('flat');
    vi.stubEnv('LAYERSTACK_CAPS', 'mount=round');
    await expect(probeCapabilities(dir)).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
  });
});
