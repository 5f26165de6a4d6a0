/** The prebuilt addons: their requirements, and a test of the addon for the other processor. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nodeInclude } from '../native/build.ts';
import { makeProject, USED, writeArchive } from '../support/installed.ts';
import { HOME, packed } from '../support/packed.ts';
import { havePeers } from '../support/peers.ts';
import { must, run } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { installArm64, NODE_ARM64 } from '../support/tools.ts';

const FLOOR = [2, 28];
/** Of Debian's cross compiler. */
const SYSROOT = '/usr/aarch64-linux-gnu/lib';

/**
 * Returns the symbols that an addon takes from other libraries, as readelf lists them: names, with their
 * versions.
 */
async function taken(addon: string): Promise<{ name: string; version: string; weak: boolean }[]> {
  const table = await must('readelf', ['--dyn-syms', '--wide', addon]);
  const rows = table.matchAll(/ (GLOBAL|WEAK) +DEFAULT +UND (\S+?)(?:@(\S+))?(?: \(\d+\))?$/gm);
  return Array.from(rows, ([, binding, name = '', version = '']) => ({
    name,
    version,
    weak: binding === 'WEAK',
  }));
}

const isNewer = (version: string): boolean => {
  const [major = 0, minor = 0] = version
    .replace(/^GLIBC_/, '')
    .split('.')
    .map(Number);
  return major > (FLOOR[0] ?? 0) || (major === FLOOR[0] && minor > (FLOOR[1] ?? 0));
};

const peers = havePeers('g++', 'aarch64-linux-gnu-g++', 'qemu-aarch64-static', 'readelf', 'npm');

describe.runIf(peers)('a prebuilt addon', () => {
  let scratch: string;
  let tarball: string;

  beforeAll(async () => {
    scratch = makeScratch('prebuilt');
    tarball = await packed(scratch);
    await installArm64();
  });

  afterAll(() => dropScratch(scratch));

  describe.each(['x64', 'arm64'])('for %s', (arch) => {
    const addon = join(HOME, `prebuilds/linux-${arch}/layerstack.glibc.node`);

    it('needs glibc 2.28, which RHEL 8 has, and no C++ library', async () => {
      const names = await taken(addon);
      expect(names.length).toBeGreaterThan(100);
      const versions = names.filter(({ version }) => version !== '');
      expect(versions.filter(({ version }) => !version.startsWith('GLIBC_'))).toEqual([]);
      expect(versions.filter(({ version }) => isNewer(version))).toEqual([]);
      // Node's own, and the loader's; a weak name may be missing.
      const bare = names.filter(({ version, weak }) => version === '' && !weak);
      expect(bare.filter(({ name }) => !/^(?:napi_\w+|__tls_get_addr)$/.test(name))).toEqual([]);
      const needed = await must('readelf', ['--dynamic', addon]);
      expect(Array.from(needed.matchAll(/\(NEEDED\).*\[(.*)\]/g), (match) => match[1])).toEqual([
        'libc.so.6',
      ]);
    });

    it('is in the tarball, stripped', async () => {
      expect(await must('tar', ['-tf', tarball])).toContain(
        `package/prebuilds/linux-${arch}/layerstack.glibc.node\n`,
      );
      expect(await must('readelf', ['--sections', '--wide', addon])).not.toContain('.symtab');
    });
  });

  it('is checked by a test that detects a newer glibc', async () => {
    const library = (await must('gcc', ['-print-file-name=libstdc++.so.6'])).trim();
    const versions = (await taken(library))
      .map(({ version }) => version)
      .filter((text) => text.startsWith('GLIBC_2'));
    expect(versions.some(isNewer)).toBe(true);
  });

  describe('for arm64, in an emulator', () => {
    const emulated = (...args: string[]): string[] => [
      ...[join(SYSROOT, 'ld-linux-aarch64.so.1'), '--library-path', SYSROOT, NODE_ARM64],
      ...args,
    ];

    it.each(['codec_test', 'tar_split_test'])('passes the tests of the native core: %s', async (name) => {
      const program = join(scratch, `${name}.node`);
      await must('aarch64-linux-gnu-g++', [
        ...['-std=c++20', '-fPIC', '-shared', '-Dmain=TestMain', '-D_FILE_OFFSET_BITS=64'],
        ...['-I', join(HOME, 'native'), '-I', nodeInclude(), '-o', program],
        ...[`${name}.cc`, 'in_node.cc'].map((source) => join(HOME, 'test/native', source)),
        join(HOME, 'build/prebuild/linux-arm64/build/Release/core.a'),
        `-Wl,--version-script=${join(HOME, 'native/exports.map')}`,
      ]);
      const load = emulated('-e', `require(${JSON.stringify(program)})`);
      const { stdout, stderr, status } = await run('qemu-aarch64-static', load);
      expect(stdout, stdout + stderr).toContain(' tests, 0 failed');
      expect(status).toBe(0);
    });

    it('loads an image and mounts a container', async () => {
      const project = makeProject(join(scratch, 'project'), { layerstack: `file:${tarball}` });
      await must('npm', ['install', '--no-audit', '--no-fund'], { cwd: project });
      const archive = writeArchive(join(scratch, 'app.tar'));
      mkdirSync(join(scratch, 'stores'));
      for (const script of ['module.mjs', 'script.cjs']) {
        const use = emulated(join(project, script), join(scratch, 'stores', script), archive);
        expect((await must('qemu-aarch64-static', use)).trim()).toBe(USED);
      }
    });
  });
});
