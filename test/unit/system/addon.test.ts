import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addonPath, advice, libcOf, useAddon, type Machine } from '../../../src/system/addon.ts';
import { native } from '../../../src/system/native.ts';

const GLIBC: Machine = { platform: 'linux', arch: 'x64', libc: 'glibc' };
const MUSL: Machine = { ...GLIBC, libc: 'musl' };

let home: string;

beforeEach(() => {
  home = `${mkdtempSync(join(tmpdir(), 'layerstack addon-'))}/`;
});

afterEach(() => rmSync(home, { recursive: true }));

function put(name: string): string {
  mkdirSync(dirname(home + name), { recursive: true });
  writeFileSync(home + name, '');
  return home + name;
}

describe('the addon of the package', () => {
  it('is the built one, and else the prebuilt one', () => {
    const prebuilt = put('prebuilds/linux-x64/layerstack.glibc.node');
    expect(addonPath(home, GLIBC)).toBe(prebuilt);
    const built = put('build/Release/layerstack.node');
    expect(addonPath(home, GLIBC)).toBe(built);
    expect(addonPath(home, MUSL)).toBe(built);
  });

  it.each([
    ['another processor', { ...GLIBC, arch: 'arm64' }],
    ['another C library', MUSL],
  ])('is not one that was prebuilt for %s', (_, machine) => {
    put('prebuilds/linux-x64/layerstack.glibc.node');
    expect(() => addonPath(home, machine)).toThrow(
      expect.objectContaining({
        code: 'ERR_ADDON',
        message: expect.stringContaining(`on linux-${machine.arch} with ${machine.libc}`) as string,
        path: `${home}prebuilds/linux-${machine.arch}/layerstack.${machine.libc}.node`,
      }) as Error,
    );
  });

  it('is refused on another system, without a command', () => {
    const darwin = { ...GLIBC, platform: 'darwin' };
    expect(() => addonPath(home, darwin)).toThrow(/^layerstack runs on Linux only, and this is darwin$/);
  });
});

describe('the advice without an addon', () => {
  it('is one command, with the directory as a shell needs it', () => {
    expect(advice("/srv/an app's/layerstack/", MUSL)).toContain(
      "`cd '/srv/an app'\\''s/layerstack/' && ln -sf packaging/binding.gyp binding.gyp && npx --yes node-gyp rebuild`",
    );
  });

  it('names a directory of its own if the package is not found', () => {
    const text = advice(undefined, GLIBC);
    const place = join(process.cwd(), 'layerstack-addon');
    expect(text).toContain(`\`npm install --ignore-scripts --prefix ${place} layerstack@`);
    expect(text).toContain(
      `LAYERSTACK_ADDON=${place}/node_modules/layerstack/build/Release/layerstack.node.`,
    );
  });
});

it('the C library of a program follows from its loader', () => {
  expect(libcOf(process.execPath)).toBe('glibc');
  writeFileSync(`${home}program`, `\x7fELF${'\0'.repeat(600)}/lib/ld-musl-x86_64.so.1\0`);
  expect(libcOf(`${home}program`)).toBe('musl');
});

it('a loaded addon cannot be changed for another', () => {
  expect(native.sniffCompression(Buffer.alloc(0))).toBe('none');
  expect(() => useAddon('/elsewhere/layerstack.node')).toThrow(
    expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', found: '/elsewhere/layerstack.node' }) as Error,
  );
});
