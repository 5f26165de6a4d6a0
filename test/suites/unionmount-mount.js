/**
 * `mount` as the unionmount-testsuite calls it: mounts an overlay as containers are mounted, and anything
 * else with mount(8).
 */
import { spawnSync } from 'node:child_process';
import { relative } from 'node:path';
import { mountOverlay } from '../../dist/system/mounts.js';

const words = process.argv.slice(2);
const at = words.indexOf('-t');
if (at < 0 || words[at + 1] !== 'overlay') {
  const path = process.env.PATH.split(':').slice(1).join(':');
  const { status } = spawnSync('mount', words, { stdio: 'inherit', env: { ...process.env, PATH: path } });
  process.exit(status ?? 1);
}
const options = words.flatMap((word, index) =>
  word === '-o' ? words[index + 1].split(',') : word.startsWith('-o') ? word.slice(2).split(',') : [],
);
const named = (key) => options.find((option) => option.startsWith(`${key}=`))?.slice(key.length + 1);
const inside = (path) => relative('/', path);
const target = words.filter(
  (word, index) => !word.startsWith('-') && !['-t', '-o'].includes(words[index - 1]),
)[1];
await mountOverlay({
  root: '/',
  target,
  lowers: named('lowerdir').split(':').map(inside),
  upper: inside(named('upperdir')),
  work: inside(named('workdir')),
  method: process.env.METHOD ?? 'fsconfig',
  options: ['index=off', 'redirect_dir=off', 'metacopy=off'],
});
