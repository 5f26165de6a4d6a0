/**
 * The package as npm publishes it, in a project that has it from the registry: nothing that it needs was left
 * out.
 */
import { cpSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { must } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { tar } from '../support/tar.ts';

const HOME = fileURLToPath(new URL('../../', import.meta.url));

let project: string;
let installed: string;

beforeAll(async () => {
  project = makeScratch('package');
  installed = join(project, 'node_modules/layerstack');
  mkdirSync(installed, { recursive: true });
  // Without the scripts, which would compile the addon again: it is put where they put it.
  const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', project];
  const [packed] = JSON.parse(await must('npm', pack, { cwd: HOME })) as [{ filename: string }];
  await must('tar', ['-xf', join(project, packed.filename), '-C', installed, '--strip-components=1']);
  const prebuilt = `prebuilds/linux-${process.arch}/layerstack.glibc.node`;
  cpSync(join(HOME, 'build/Release/layerstack.node'), join(installed, prebuilt));
  symlinkSync(join(HOME, 'node_modules'), join(installed, 'node_modules'));
  symlinkSync(join(HOME, 'node_modules/@types'), join(project, 'node_modules/@types'));
});

afterAll(() => dropScratch(project));

test('is imported by its name', async () => {
  const code = `
    import { Layerstack, LayerstackError } from 'layerstack';
    const store = await Layerstack.open({ root: process.argv[2] });
    const code = await store.images.inspect('none').catch((error) => LayerstackError.is(error) && error.code);
    const findings = [];
    for await (const finding of store.fsck()) findings.push(finding);
    console.log(code, (await store.images.list()).length, findings.length);
    await store.close();
  `;
  writeFileSync(join(project, 'main.mjs'), code);
  const said = await must(process.execPath, [join(project, 'main.mjs'), join(project, 'store')]);
  expect(said.trim()).toBe('ERR_IMAGE_NOT_FOUND 0 0');
});

test('is required by its name', async () => {
  const code = `
    const { Layerstack, LayerstackError } = require('layerstack');
    Layerstack.open({ root: process.argv[2] }).then(async (store) => {
      const code = await store.images.inspect('none').catch((error) => LayerstackError.is(error) && error.code);
      console.log(code, (await store.images.list()).length);
      await store.close();
    });
  `;
  writeFileSync(join(project, 'main.cjs'), code);
  const said = await must(process.execPath, [join(project, 'main.cjs'), join(project, 'store')]);
  expect(said.trim()).toBe('ERR_IMAGE_NOT_FOUND 0');
});

test('has every verb of its command', async () => {
  const command = join(installed, 'dist/bundle/main.js');
  const overview = await must(process.execPath, [command, '--help']);
  const verbs = [...overview.matchAll(/^ {2}([a-z-]+) {2,}/gm)].map(([, verb = '']) => verb);
  expect(verbs.length).toBeGreaterThan(25);
  for (const verb of verbs)
    expect(await must(process.execPath, [command, verb, '--help'])).toContain(`layerstack ${verb}`);
  const empty = await must(process.execPath, [command, '--root', join(project, 'store'), 'images', '-q']);
  expect(empty).toBe('');
});

test('serves all requests after an upgrade has removed its files', async () => {
  const dist = join(installed, 'dist/bundle');
  const away = join(project, 'away');
  const manifest = join(installed, 'package.json');
  const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
  await using service = await ServiceProcess.start(project, { command: join(dist, 'main.js') });
  renameSync(dist, away);
  renameSync(manifest, `${away}.json`);
  try {
    for (const path of ['/version', '/info']) {
      const told = await service.send('GET', path);
      expect(told.status, told.text).toBe(200);
      expect(told.text).toContain(`"${version}"`);
    }
    const layer = tar([{ name: 'file', content: 'content' }]);
    const imported = await service.send('POST', '/images/create?fromSrc=-&repo=own&tag=1', layer);
    expect(imported.text).not.toContain('error');
    const saved = await service.send('GET', '/images/own:1/get');
    expect(saved.status, saved.text.slice(0, 300)).toBe(200);
    const loaded = await service.send('POST', '/images/load', saved.bytes);
    expect(loaded.text).toContain('Loaded image: own:1');
    const pulled = await service.send('POST', '/images/create?fromImage=127.0.0.1:1/none&tag=1');
    expect(pulled.text).not.toContain('Cannot find');
    expect(pulled.text).toContain('127.0.0.1:1');
  } finally {
    renameSync(away, dist);
    renameSync(`${away}.json`, manifest);
  }
});

test('brings the manual pages that npm installs', () => {
  const { man } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as { man: string[] };
  expect(man).toContain('dist/man/layerstack.1');
  for (const page of man) expect(readFileSync(join(installed, page), 'utf8')).toMatch(/^\.TH LAYERSTACK/);
});

test('has types for both kinds of modules', async () => {
  const code = `
    import { Layerstack, type ImageSummary } from 'layerstack';
    const store: Layerstack = await Layerstack.open({ root: '/srv/store' });
    export const images: ImageSummary[] = await store.images.list();
    // @ts-expect-error a root is a path
    await Layerstack.open({ root: 1 });
  `;
  writeFileSync(join(project, 'main.mts'), code);
  const script = `
    import library = require('layerstack');
    export async function images(): Promise<library.ImageSummary[]> {
      const store: library.Layerstack = await library.Layerstack.open({ root: '/srv/store' });
      return store.images.list();
    }
    export const code = (error: unknown) => (library.LayerstackError.is(error) ? error.code : undefined);
    // @ts-expect-error a root is a path
    void library.Layerstack.open({ root: 1 });
  `;
  writeFileSync(join(project, 'main.cts'), script);
  const options = ['--noEmit', '--strict', '--target', 'es2022', '--module', 'node16', '--types', 'node'];
  const tsc = join(HOME, 'node_modules/.bin/tsc');
  await must(tsc, [...options, 'main.mts', 'main.cts'], { cwd: project });
});
