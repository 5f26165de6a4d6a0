/**
 * The loop of an agent with a sandbox. Each tool call runs in a container by runc, and a snapshot follows it.
 * A bad call is rolled back. Then three attempts start from the same snapshot; the best one takes the place
 * of the container, and becomes an image.
 *
 *   node examples/agent.js ARCHIVE [ROOT]
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Layerstack } from 'layerstack';

const [archive, root = '/var/lib/layerstack'] = process.argv.slice(2);
const scratch = await mkdtemp(join(tmpdir(), 'agent-'));
const store = await Layerstack.open({ root });
const { containers, snapshots } = store;

/** Runs a command in a container, without a network. Returns its exit status and its output. */
async function call(container, script) {
  const bundle = await containers.bundle(container, join(scratch, container.id), {
    command: ['/bin/sh', '-c', script],
  });
  const runc = ['--root', join(scratch, 'runc'), 'run', '--bundle', bundle.path, container.id.slice(0, 12)];
  const { status, stdout } = spawnSync('runc', runc, {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  });
  await containers.unmount(container);
  return { status, text: stdout.trim() };
}

try {
  const { images } = await store.images.load(archive);
  const agent = await containers.create(images[0].references[0] ?? images[0].id);

  let good = await snapshots.create(agent);
  for (const step of ['echo plan > /plan', 'rm /plan; exit 1', 'echo draft > /draft']) {
    const { status } = await call(agent, step);
    if (status === 0) good = await snapshots.create(agent, { labels: { step } });
    else await snapshots.rollback(agent, good);
    console.log(status === 0 ? 'kept' : 'rolled back', step);
  }

  const attempts = await snapshots.fork(good, { count: 3 });
  const scores = [];
  for (const [index, attempt] of attempts.entries()) {
    const { text } = await call(attempt, `cat /draft > /result; echo ${index * (3 - index)}; test -f /plan`);
    scores.push(Number(text));
  }
  const best = attempts[scores.indexOf(Math.max(...scores))];
  const winner = await snapshots.promote(best, { onto: agent });
  console.log('changed', ...(await snapshots.diff(good, winner)).map(({ kind, path }) => kind + path));
  console.log('image', await snapshots.commit(winner, { reference: 'agent:done' }));
  for (const container of [...attempts, agent]) await containers.remove(container);
} finally {
  await store.close();
  await rm(scratch, { recursive: true });
}
