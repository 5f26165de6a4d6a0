/**
 * node busy.mjs OWN ROOT IMAGE ARCHIVE ROUNDS: uses a store with names of its own, which begin with OWN, and
 * with one image that all processes share. Prints a line after each change. An error of the store that
 * another process may have caused is printed as `error CODE`. Any other error ends the process with status 1.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { Layerstack, LayerstackError } from '../../../dist/bundle/index.js';

const [own, root, image, archive, rounds] = process.argv.slice(2);
const store = await Layerstack.open({ root });
const say = (line) => process.stdout.write(`${line}\n`);

/** Runs a change of the shared image, which others remove and add meanwhile. */
async function shared(change) {
  try {
    await change();
    say('shared');
  } catch (error) {
    if (!LayerstackError.is(error) || error.code === 'ERR_INTERNAL') throw error;
    say(`error ${error.code}`);
  }
}

for (let round = 0; round < Number(rounds); round++) {
  const container = await store.containers.create(image, { name: own });
  say('create');
  const mount = await store.containers.mount(container);
  say('mount');
  writeFileSync(join(mount.path, 'new'), `${own} ${round}`);
  await mount.unmount();
  say('unmount');
  await store.containers.commit(container, { reference: `${own}:1` });
  say('commit');
  await shared(() => store.images.load(archive));
  await shared(() => store.images.tag('shared:1', `${own}:2`));
  await store.images
    .save([`${own}:1`])
    .resume()
    .toArray();
  await shared(() => store.images.remove('shared:1'));
  await shared(() => store.images.remove(`${own}:2`));
  await store.images.remove(`${own}:1`);
  say('rmi');
  await store.containers.remove(container);
  say('rm');
}
await store.close();
