/**
 * An unmount after which the mount point cannot be removed, since it is busy in another mount namespace:
 * kernels before 3.18 answer EBUSY then, and strace injects it here.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { run, type Ran } from '../support/process.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

const image = imageOf([layerOf({ 'etc/base': 'base' })], { tags: ['base:1'] });

const strace = (log: string, ...more: string[]): string[] => [
  '-f',
  '-qq',
  '-o',
  log,
  '-e',
  'trace=unlinkat',
  ...more,
];

/** Returns the number of the thread's call that removes the mount point. */
function whenRemoved(log: string): number {
  const calls = readFileSync(log, 'utf8').split('\n');
  const removal = calls.find((call) => call.includes('"merged", AT_REMOVEDIR'));
  const [thread = ''] = /^\d+ /.exec(removal ?? '') ?? [];
  return calls.filter((call) => call.startsWith(thread)).indexOf(removal ?? '') + 1;
}

describe.runIf(havePeers('strace'))('a mount point that is busy elsewhere', () => {
  it.each([[['unmount', 'busy']], [['unmount', '--force', 'busy']]])(
    'does not fail %j, and does not hinder it afterwards',
    async (args) => {
      const scratch = makeScratch('busy');
      onTestFinished(() => dropScratch(scratch));
      const cli = new LayerstackCli(join(scratch, 'root'));
      const log = join(scratch, 'log');
      writeFileSync(join(scratch, 'image.tar'), tar(dockerArchive([image])));
      await cli.run('load', '-i', join(scratch, 'image.tar'));
      await cli.run('create', '--name', 'busy', 'base:1');
      const traced = async (...more: string[]): Promise<Ran> => {
        if (args[0] === 'unmount') await cli.run('mount', 'busy');
        return run('strace', [...strace(log, ...more), process.execPath, ...cli.argv(...args)]);
      };
      expect((await traced()).status).toBe(0);
      const when = whenRemoved(log);
      expect(when).toBeGreaterThan(0);
      const ran = await traced('-e', `inject=unlinkat:error=EBUSY:when=${when}`);
      expect(readFileSync(log, 'utf8')).toMatch(/"merged", AT_REMOVEDIR\) += -1 EBUSY .*INJECTED/);
      expect([ran.stderr, ran.status]).toEqual(['', 0]);
      expect(mountsBelow(scratch)).toEqual([]);
      const path = (await cli.run('mount', 'busy')).trim();
      expect(existsSync(`${path}/etc/base`)).toBe(true);
      await cli.run('unmount', 'busy');
      expect(existsSync(path)).toBe(false);
      await cli.run('rm', 'busy');
    },
  );
});
