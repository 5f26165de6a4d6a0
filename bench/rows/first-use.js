/**
 * The first use of an image's files: a packed image against an extracted one, cold (after the machine's
 * caches are dropped) and warm. dockerd and podman read an extracted tree too.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runsInTurn, sh, summary, timed } from '../support/measure.js';
import { layerstack, sync } from '../support/programs.js';
import { onFreshVolume } from '../support/volume.js';

const FORMS = { packed: ['load', '--packed'], extracted: ['load'] };

/** The work, by name. Each gets a root file system. */
const JOBS = {
  walk: {
    job: 'find -ls and cat of all files',
    run: (root) =>
      sh('sh', [
        '-c',
        'find "$1" -xdev -ls >/dev/null && find "$1" -xdev -type f -exec cat {} + >/dev/null',
        'sh',
        root,
      ]),
  },
  gcc: {
    job: 'gcc of a small program',
    run: (root) => sh('chroot', [root, 'sh', '-c', 'echo "int main() { return 0; }" | gcc -x c -o /tmp/a -']),
    needs: 'usr/bin/gcc',
  },
};

const cachedBytes = () =>
  Number(/^Cached:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))[1]) * 1024;

/** Drops what the machine has cached, other programs' files too. */
async function dropCaches(volume) {
  await sync(volume);
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}

/** Runs the jobs on one form of the image. Returns milliseconds and bytes of page cache by job. */
async function useForm(input, form) {
  return onFreshVolume(async (volume) => {
    // Otherwise the pages of the volume's file would be counted too.
    const device = await sh('findmnt', ['-no', 'SOURCE', volume]);
    await sh('losetup', ['--direct-io=on', device]);
    await layerstack(volume, ...FORMS[form], '-i', input.archive);
    const container = await layerstack(volume, 'create', input.id);
    const root = await layerstack(volume, 'mount', container);
    try {
      const measured = {};
      for (const [name, { run, needs }] of Object.entries(JOBS)) {
        if (needs !== undefined && !existsSync(join(root, needs))) continue;
        await dropCaches(volume);
        const before = cachedBytes();
        const cold = await timed(() => run(root));
        measured[name] = { cold, cached: cachedBytes() - before, warm: await timed(() => run(root)) };
      }
      return measured;
    } finally {
      await layerstack(volume, 'unmount', container);
    }
  });
}

export async function firstUse(input, count) {
  const programs = Object.fromEntries(Object.keys(FORMS).map((form) => [form, () => useForm(input, form)]));
  const { packed, extracted } = await runsInTurn(count, programs);
  const values = (form, name, key) => form.values.map((run) => run[name][key]);
  const cached = (form, name) => `${Math.round(summary(values(form, name, 'cached')).median / 1e6)} MB`;
  return Object.entries(JOBS).flatMap(([name, { job }]) =>
    packed.values.some((run) => run[name] === undefined)
      ? []
      : ['cold', 'warm'].map((heat) => ({
          job: `${job}, packed, ${heat}`,
          floorName: 'the same in the extracted tree of `load`',
          layerstack: {
            values: values(packed, name, heat),
            ...(heat === 'cold' && {
              notes: `the page cache grows by ${cached(packed, name)}, by ${cached(extracted, name)} for the extracted tree`,
            }),
          },
          floor: { values: values(extracted, name, heat) },
        })),
  );
}
