/**
 * A root file system that debootstrap makes becomes an image in one command, from its directory or a tar; a
 * container of it has the same tree, and dockerd runs it.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Dockerd } from '../support/dockerd.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { compareTrees, dumpTree, mapTree, type Tree } from '../support/tree.ts';

/**
 * The suite, mirror and proxy that apt has here; a machine without Debian's gets debootstrap's own mirror.
 */
async function source(): Promise<{ suite: string; mirror: string[]; env: Record<string, string> }> {
  const wanted = ['Component: main', 'Origin: Debian'];
  const listed = await must('apt-get', ['indextargets', '--format', '$(CODENAME) $(REPO_URI)', ...wanted]);
  const found = listed.split('\n').find((line) => /^[a-z]+ https?:/.test(line));
  const [suite = 'bookworm', ...mirror] = found?.split(' ') ?? [];
  const settings = await must('apt-config', ['dump', '--no-empty', '--format', '%f %v%n', 'Acquire']);
  const proxies = [...settings.matchAll(/^Acquire::(https?)::Proxy (https?:\S+)$/gim)];
  return {
    ...{ suite, mirror },
    env: Object.fromEntries(
      proxies.map(([, scheme = '', proxy = '']) => [`${scheme.toLowerCase()}_proxy`, proxy]),
    ),
  };
}

/** The names in docker's init layer. */
const INIT = new Set([
  '.dockerenv',
  'dev/console',
  'dev/pts',
  'dev/shm',
  'etc/hostname',
  'etc/hosts',
  'etc/mtab',
  'etc/resolv.conf',
]);

describe.runIf(havePeers('debootstrap', 'dockerd', 'docker', 'tar'))('what debootstrap makes', () => {
  let scratch: string;
  let made: string;
  let ours: LayerstackCli;
  let daemon: Dockerd | undefined;

  beforeAll(async () => {
    scratch = makeScratch('debootstrap');
    made = join(scratch, 'made');
    ours = new LayerstackCli(join(scratch, 'store'));
    const { suite, mirror, env } = await source();
    await must('debootstrap', ['--variant=minbase', suite, made, ...mirror], { env });
  });

  afterAll(async () => {
    await daemon?.stop();
    await dropScratch(scratch);
  });

  /**
   * Returns a tree without the entries of docker's init layer, and without the times of their directories.
   */
  async function treeOf(directory: string): Promise<Tree> {
    return mapTree(await dumpTree(directory), (entry) => {
      if (INIT.has(entry.path)) return undefined;
      return ['.', 'dev', 'etc'].includes(entry.path) ? { ...entry, mtime: '' } : entry;
    });
  }

  const mounted = async (image: string): Promise<string> =>
    ours.run('mount', await ours.run('create', image));

  test('becomes an image in one command, and is the same in a container', async () => {
    await ours.run('import', '-c', 'CMD ["/bin/bash"]', made, 'made:directory');
    const expected = await treeOf(made);
    expect(expected.size).toBeGreaterThan(5000);
    const merged = await mounted('made:directory');
    expect(compareTrees(await treeOf(merged), expected)).toEqual([]);
    expect(await must('chroot', [merged, 'dpkg', '--audit'])).toBe('');
  });

  test('becomes the same image through a tar', async () => {
    const file = join(scratch, 'made.tar');
    await must('tar', ['-C', made, '--numeric-owner', '--format=posix', '--xattrs', '-cf', file, '.']);
    await ours.run('import', file, 'made:tar');
    expect(compareTrees(await treeOf(await mounted('made:tar')), await treeOf(made))).toEqual([]);
  });

  test('is run by dockerd', async () => {
    const file = join(scratch, 'saved.tar');
    await ours.run('save', '-o', file, 'made:directory');
    daemon = await Dockerd.start(join(scratch, 'theirs'));
    await daemon.docker('load', '-q', '-i', file);
    const command = ['run', '--rm', '--network', 'none', 'made:directory'];
    expect(await daemon.docker(...command, 'dpkg-query', '-W', '-f', '${Status}', 'dpkg')).toBe(
      'install ok installed',
    );
  });
});
