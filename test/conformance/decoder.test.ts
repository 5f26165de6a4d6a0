/**
 * Documents with a field that does not quite fit docker's types, read by dockerd and by layerstack. Image
 * configs are loaded. For documents of containers the test compares the list of a dockerd on the root with
 * the findings of fsck before.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Layerstack } from '../../src/index.ts';
import { digestOf } from '../../src/core/digest.ts';
import { dockerArchive } from '../support/archives.ts';
import { Dockerd } from '../support/dockerd.ts';
import { imageOf, layerOf, type TestImage } from '../support/images.ts';
import { havePeers } from '../support/peers.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

/** A place in a document, and the text that is written there. */
type Case = readonly [place: string, literal: string];

const IMAGE_CASES: readonly Case[] = [
  ['config.StopTimeout', '10'],
  ['config.StopTimeout', '10.0'],
  ['config.StopTimeout', '1e1'],
  ['config.StopTimeout', '-0'],
  ['config.StopTimeout', 'null'],
  ['config.StopTimeout', '"10"'],
  ['config.StopTimeout', '9223372036854775807'],
  ['config.StopTimeout', '9223372036854775808'],
  ['config.StopTimeout', '10.0, "stoptimeout": 10'],
  ['config.StopTimeout', '10, "stoptimeout": 10.5'],
  ['config.Healthcheck', '{"Test":["CMD","x"],"Interval":9007199254740993}'],
  ['config.Healthcheck', '{"Interval":"5s"}'],
  ['config.Healthcheck', '[]'],
  ['config.Healthcheck.Retries', '3.0'],
  ['config.Cmd', '"sh -c x"'],
  ['config.Cmd', '["a",null]'],
  ['config.Cmd', '[1]'],
  ['config.Cmd', 'true'],
  ['config.Env', '"A=1"'],
  ['config.Env', '{}'],
  ['config.ExposedPorts', '{"80/tcp":null}'],
  ['config.ExposedPorts', '{"80/tcp":[]}'],
  ['config.ExposedPorts', '["80/tcp"]'],
  ['config.Labels', '{"a":1}'],
  ['config.Labels', '{"a":null}'],
  ['config.Tty', '"false"'],
  ['config.Volumes', '{"/v":{"x":1}}'],
  ['config.OnBuild', '[null]'],
  ['container_config.Hostname', '5'],
  ['Size', '1.5'],
  ['os.features', '"a"'],
  ['os.version', '10'],
  ['created', '"2020-01-02"'],
  ['created', '1577934245'],
  ['author', '[]'],
  ['history', '[null]'],
  ['history', '{}'],
  ['history', '[{"empty_layer":"true"}]'],
  ['rootfs.type', '5'],
  ['rootfs', 'null'],
  ['os', '"windows"'],
  ['os', '"LINUX"'],
  ['os', '"Linux"'],
  ['os', '"linux "'],
  ['os', '""'],
  ['os', 'null'],
];

const HOST = 'hostconfig.json';
const CONFIG = 'config.v2.json';

const CONTAINER_CASES: readonly (readonly [file: typeof HOST | typeof CONFIG, ...Case])[] = [
  [HOST, 'PortBindings', '{"80/tcp":[{"HostPort":"8080"}]}'],
  [HOST, 'PortBindings', '{"80/tcp":[{"HostPort":8080}]}'],
  [HOST, 'PortBindings', '{"80/tcp":{"HostPort":"8080"}}'],
  [HOST, 'PortBindings', '{"80/tcp":null}'],
  [HOST, 'Memory', '1073741824'],
  [HOST, 'Memory', '1073741824.0'],
  [HOST, 'Memory', '1e9'],
  [HOST, 'BlkioWeight', '70000'],
  [HOST, 'BlkioWeight', '-1'],
  [HOST, 'CapAdd', '"NET_ADMIN"'],
  [HOST, 'Binds', '"/a:/b"'],
  [HOST, 'ConsoleSize', '[0,-1]'],
  [HOST, 'ConsoleSize', '[1,2]'],
  [HOST, 'Init', '"true"'],
  [HOST, 'RestartPolicy', '{"Name":"no","MaximumRetryCount":"0"}'],
  [HOST, 'Mounts', '[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"Mode":"1777"}}]'],
  [HOST, 'Mounts', '[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"Mode":1023}}]'],
  [HOST, 'Ulimits', '[{"Name":"nofile","Hard":9223372036854775807,"Soft":-1}]'],
  [HOST, 'Ulimits', '[{"Name":"nofile","Hard":9223372036854775808}]'],
  [HOST, 'Devices', '[null]'],
  [CONFIG, 'Config.StopTimeout', '10.0'],
  [CONFIG, 'Config.Cmd', '"x"'],
  [CONFIG, 'Config.Env', '"x"'],
  [CONFIG, 'RestartCount', '1.0'],
  [CONFIG, 'Created', '"yesterday"'],
  [CONFIG, 'Args', '[null]'],
  [CONFIG, 'State.Pid', '"0"'],
  [CONFIG, 'State.StartedAt', 'null'],
  [CONFIG, 'NetworkSettings.Networks', '{"none":{"IPPrefixLen":"0"}}'],
  [CONFIG, 'MountPoints', '{"/v":{"RW":"true"}}'],
];

/** The document with the text `literal` at `place`. */
function written(document: unknown, place: string, literal: string): string {
  const copy = structuredClone(document) as Record<string, unknown>;
  const names = place === 'os.features' || place === 'os.version' ? [place] : place.split('.');
  const last = names.pop() ?? '';
  let at = copy;
  for (const name of names) at = (at[name] ??= {}) as Record<string, unknown>;
  at[last] = '@literal@';
  return JSON.stringify(copy).replace('"@literal@"', () => literal);
}

const base = imageOf([layerOf({ a: 'a' })], { tags: ['base:1'] });

function withConfig(place: string, literal: string): TestImage {
  const config = Buffer.from(written(JSON.parse(base.config.toString()), place, literal));
  return { ...base, config, id: digestOf(config) as TestImage['id'], tags: [] };
}

describe.runIf(havePeers('dockerd', 'docker'))('what dockerd decodes and what layerstack takes', () => {
  let scratch: string;
  let store: Layerstack;

  beforeAll(async () => {
    scratch = makeScratch('decoder');
    store = await Layerstack.open({ root: join(scratch, 'ours') });
    await store.images.load(Readable.from([tar(dockerArchive([base]))]));
  });

  afterAll(async () => {
    await store[Symbol.asyncDispose]();
    await dropScratch(scratch);
  });

  test('are the same image configs', async () => {
    const dockerd = await Dockerd.start(join(scratch, 'theirs'));
    try {
      const verdicts: Record<'ours' | 'theirs', string[]> = { ours: [], theirs: [] };
      for (const [place, literal] of IMAGE_CASES) {
        const archive = tar(dockerArchive([withConfig(place, literal)]));
        const taken = (is: boolean): string => `${place} ${literal}: ${is ? 'taken' : 'refused'}`;
        verdicts.ours.push(
          taken(
            await store.images.load(Readable.from([archive])).then(
              () => true,
              (error: unknown) => {
                expect(error).toMatchObject({ code: 'ERR_CONFIG_INVALID' });
                return false;
              },
            ),
          ),
        );
        const ran = await dockerd.dockerRun(['load'], { input: archive }).then(
          () => true,
          () => false,
        );
        verdicts.theirs.push(taken(ran));
      }
      expect(verdicts.ours).toEqual(verdicts.theirs);
      expect(verdicts.theirs.filter((each) => each.endsWith('taken')).length).toBeGreaterThan(8);
    } finally {
      await dockerd.stop();
    }
  });

  test('are the same documents of containers, and fsck names the keys that dockerd loses', async () => {
    const made = new Map<string, string>();
    for (const [index, [file, place, literal]] of CONTAINER_CASES.entries()) {
      const { id } = await store.containers.create('base:1', { name: `case${String(index)}` });
      const path = join(scratch, 'ours/containers', id, file);
      writeFileSync(path, written(JSON.parse(readFileSync(path, 'utf8')), place, literal));
      made.set(id, `${file} ${place} ${literal}`);
    }
    const found = new Set<string>();
    for await (const { code, path, message } of store.fsck()) {
      if (code !== 'container-undecodable') continue;
      const id = /^containers\/([0-9a-f]{64})\//.exec(path)?.[1] ?? '';
      const [file = '', place = ''] = (made.get(id) ?? '').split(' ');
      expect(path).toBe(`containers/${id}/${file}`);
      expect(message).toContain(place);
      found.add(id);
    }
    await store[Symbol.asyncDispose]();
    const dockerd = await Dockerd.start(join(scratch, 'ours'));
    try {
      const listed = new Set((await dockerd.docker('ps', '-aq', '--no-trunc')).split('\n'));
      const verdict = (is: (id: string) => boolean): string[] =>
        [...made].map(([id, what]) => `${what}: ${is(id) ? 'listed' : 'lost'}`);
      expect(verdict((id) => !found.has(id))).toEqual(verdict((id) => listed.has(id)));
      expect(listed.size).toBeGreaterThan(5);
      expect(found.size).toBeGreaterThan(10);
    } finally {
      await dockerd.stop();
    }
  });
});
