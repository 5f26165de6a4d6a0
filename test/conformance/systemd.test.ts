/** The unit files, as systemd judges them, and the service within the bounds that they set. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { run } from '../support/process.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { tar } from '../support/tar.ts';

const UNITS = fileURLToPath(new URL('../../packaging/systemd/', import.meta.url));
const SERVICE = readFileSync(join(UNITS, 'layerstack.service'), 'utf8');
const SOCKET = readFileSync(join(UNITS, 'layerstack.socket'), 'utf8');

const setting = (name: string): string => new RegExp(`^${name}=(.*)$`, 'm').exec(SERVICE)?.[1] ?? '';

function scratch(): string {
  const directory = makeScratch('systemd');
  onTestFinished(() => dropScratch(directory));
  return directory;
}

describe.runIf(havePeers('systemd-analyze', 'setpriv'))('the unit files', () => {
  async function verify(service: string): Promise<{ status: number | null; said: string }> {
    const directory = scratch();
    // The command need not be installed where this runs.
    const text = service.replace('ExecStart=layerstack', `ExecStart=${process.execPath}`);
    writeFileSync(join(directory, 'layerstack.service'), text);
    writeFileSync(join(directory, 'layerstack.socket'), SOCKET);
    const units = ['layerstack.service', 'layerstack.socket'].map((name) => join(directory, name));
    const { status, stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', ...units]);
    return { status, said: stdout + stderr };
  }

  test('satisfy systemd-analyze verify', async () => {
    expect(await verify(SERVICE)).toEqual({ status: 0, said: '' });
    // The check works: systemd finds this fault.
    expect((await verify(SERVICE.replace('Type=notify', 'Tpye=notify'))).said).toContain('Tpye');
  });

  test('satisfy it for the scrub and its timer, which runs options that exist', async () => {
    const directory = scratch();
    const names = ['layerstack-scrub.service', 'layerstack-scrub.timer'];
    const texts = names.map((name) => readFileSync(join(UNITS, name), 'utf8'));
    const check = async (text: string): Promise<{ status: number | null; said: string }> => {
      writeFileSync(
        join(directory, names[0] ?? ''),
        text.replace('ExecStart=layerstack', `ExecStart=${process.execPath}`),
      );
      writeFileSync(join(directory, names[1] ?? ''), texts[1] ?? '');
      const units = names.map((name) => join(directory, name));
      const { status, stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', ...units]);
      return { status, said: stdout + stderr };
    };
    const [service = ''] = texts;
    expect(await check(service)).toEqual({ status: 0, said: '' });
    expect((await check(service.replace('IOSchedulingClass=idle', 'IOSchedulingClass=lazy'))).said).toContain(
      'lazy',
    );
    const help = await new LayerstackCli(directory).run('scrub', '--help');
    for (const [option = ''] of (/^ExecStart=(.*)$/m.exec(service)?.[1] ?? '').matchAll(/--[a-z-]+/g))
      expect(help).toContain(option);
  });

  test('leave the service in the mount namespace of the host', () => {
    const settings = [...SERVICE.matchAll(/^(\w+)=/gm)].map((match) => match[1] ?? '');
    const own =
      /^(?:Private(?:Mounts|Tmp|Devices)|Protect.*|.*Paths|MountFlags|RootDirectory|RootImage|Bind.*|TemporaryFileSystem|DynamicUser)$/;
    expect(settings.filter((name) => own.test(name))).toEqual([]);
    expect(setting('Type')).toBe('notify');
  });

  test('start it with options that exist', async () => {
    const help = await new LayerstackCli(scratch()).run('serve', '--help');
    for (const [option = ''] of setting('ExecStart').matchAll(/--[a-z-]+/g)) expect(help).toContain(option);
  });

  test('give it the capabilities that it needs: to load, mount, write and export', async () => {
    const directory = scratch();
    const wanted = setting('CapabilityBoundingSet')
      .split(' ')
      .map((name) => `+${name.replace(/^CAP_/, '').toLowerCase()}`);
    const service = await ServiceProcess.start(directory, {
      under: ['setpriv', '--no-new-privs', '--inh-caps=-all', `--bounding-set=-all,${wanted.join(',')}`],
    });
    onTestFinished(() => service[Symbol.asyncDispose]());
    const layer = layerOf([
      { name: 'bin/su', content: 'x', mode: 0o4755, uid: 7, gid: 7 },
      { name: 'dev/null', type: 'char', devmajor: 1, devminor: 3 },
      { name: 'etc/motd', content: 'hello' },
    ]);
    const archive = tar(dockerArchive([imageOf([layer], { tags: ['t/a:1'] })]));
    expect((await service.send('POST', '/images/load?quiet=1', archive)).text).toContain(
      'Loaded image: t/a:1',
    );
    const json = { 'Content-Type': 'application/json' };
    const body = Buffer.from('{"Image":"t/a:1","Cmd":["sh"]}');
    expect((await service.send('POST', '/containers/create?name=box', body, json)).status).toBe(201);
    expect((await service.send('POST', '/layerstack/v1/containers/box/mount')).status).toBe(200);
    expect(mountsBelow(directory)).toHaveLength(1);
    expect((await service.send('GET', '/containers/box/export')).status).toBe(200);
    expect(
      (await service.send('POST', '/commit?container=box&repo=t/b', Buffer.from('{}'), json)).status,
    ).toBe(201);
    expect((await service.send('DELETE', '/containers/box?force=1')).status).toBe(204);
    expect(mountsBelow(directory)).toEqual([]);
    expect(service.log.filter(({ message }) => String(message).includes('CAP_SYS_NICE'))).toEqual([]);
    expect(await service.stop()).toEqual({ status: 0, signal: null });
  });
});
