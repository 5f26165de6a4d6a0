/**
 * npm run fuzz [-- TARGET... [FILE...] [--seconds N]]: fuzzes the native core with clang's libFuzzer, under
 * ASan and UBSan.
 *
 * TARGET is a file of test/fuzz/targets/ without `.cc`; the default is all of them. Each runs for N seconds
 * (60), and as many run at once as there are processors, two at most. With FILEs, the target runs once with
 * each of them. It begins with test/fuzz/corpus/TARGET and with what earlier runs have found, which is kept
 * in build/fuzz/found/TARGET. An input that ends a target is kept in build/fuzz/crashes/, and the command
 * that repeats it is printed. Once the fault is mended, the input belongs to the corpus, which `npm run
 * test:native` replays.
 *
 * Needs clang with its runtime libraries (Debian: clang, libclang-rt-dev), and root. The exit status is 1 if
 * a target has found something.
 */
import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import process from 'node:process';
import { fileURLToPath, URL } from 'node:url';
import { parseArgs } from 'node:util';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const ROOT = join(HERE, '../..');
const OUT = join(ROOT, 'build/fuzz');
const SANITIZE = '-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all';
const WORKERS = Math.min(2, availableParallelism());
const TARGETS = readdirSync(join(HERE, 'targets')).map((file) => basename(file, '.cc'));

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '60' } },
});
const files = positionals.filter((word) => !TARGETS.includes(word)).map((file) => resolve(file));
const chosen = positionals.filter((word) => TARGETS.includes(word));
if (!/^[1-9]\d*$/.test(values.seconds)) fail(`--seconds ${values.seconds} is not a number of seconds`);
if (files.length > 0 && chosen.length !== 1)
  fail(`to run ${files.join(', ')}, name one target: ${TARGETS.join(', ')}`);

function fail(message) {
  console.error(message);
  process.exit(2);
}

/** Runs a program. Its output goes to the terminal, or to a file. Returns the exit status. */
function run(program, args, log) {
  return new Promise((done, reject) => {
    const child = spawn(program, args, {
      stdio: ['ignore', log ? 'pipe' : 'inherit', log ? 'pipe' : 'inherit'],
    });
    if (log) {
      const file = createWriteStream(log);
      child.stdout.pipe(file, { end: false });
      child.stderr.pipe(file, { end: false });
      child.once('close', () => file.end());
    }
    child.once('error', reject);
    child.once('close', (status) => done(status));
  });
}

/** Returns the C++ compiler of clang, by its plain name or the highest version. */
function compiler() {
  const names = (process.env.PATH ?? '').split(':').flatMap((directory) => {
    try {
      return readdirSync(directory);
    } catch {
      return [];
    }
  });
  const versions = names.map((name) => /^clang\+\+-(\d+)$/.exec(name)?.[1]).filter(Boolean);
  if (names.includes('clang++')) return 'clang++';
  if (versions.length === 0) fail('clang is not installed; on Debian: apt install clang libclang-rt-dev');
  return `clang++-${Math.max(...versions)}`;
}

/** The folder with Node's own zlib.h, which node-gyp has recorded (`npm run build:native`). */
function nodeInclude() {
  const [, folder] = /"nodedir": "([^"]*)"/.exec(readFileSync(join(ROOT, 'build/config.gypi'), 'utf8')) ?? [];
  return folder ? join(folder, 'include/node') : join(dirname(dirname(process.execPath)), 'include/node');
}

async function build(targets) {
  const programs = targets.map((target) => join(OUT, `${target}_fuzz`));
  const variables = [
    `CXX=${compiler()}`,
    `SANITIZE=${SANITIZE}`,
    `OUT=${OUT}`,
    `NODE_INCLUDE=${nodeInclude()}`,
  ];
  const status = await run('make', [
    '-s',
    '-C',
    HERE,
    `-j${availableParallelism()}`,
    ...variables,
    ...programs,
  ]);
  if (status !== 0) fail('the targets could not be built');
}

/** The last line of libFuzzer's log that has a number of runs, and those that name a fault. */
function summary(log) {
  const lines = readFileSync(log, 'utf8').split('\n');
  const runs = lines.map((line) => /^#(\d+)\t/.exec(line)?.[1]).findLast(Boolean) ?? '0';
  const faults = lines.filter((line) => /does not hold|runtime error|ERROR: |SUMMARY: /.test(line));
  return { runs, faults };
}

/** Fuzzes one target. Returns whether it has found nothing. */
async function fuzz(target) {
  const [found, crashes] = [join(OUT, 'found', target), join(OUT, 'crashes', target)];
  for (const directory of [found, crashes]) mkdirSync(directory, { recursive: true });
  const log = join(OUT, `${target}.log`);
  const before = new Set(readdirSync(crashes));
  const status = await run(
    join(OUT, `${target}_fuzz`),
    [
      ...[`-max_total_time=${values.seconds}`, '-max_len=65536', '-timeout=60', '-rss_limit_mb=2048'],
      ...[`-artifact_prefix=${crashes}/`, found, join(HERE, 'corpus', target)],
    ],
    log,
  );
  const { runs, faults } = summary(log);
  console.log(`${target}: ${runs} runs, ${status === 0 ? 'no fault' : `exit status ${status}, log ${log}`}`);
  if (status === 0) return true;
  for (const line of faults) console.log(`  ${line}`);
  for (const file of readdirSync(crashes).filter((name) => !before.has(name)))
    console.log(`  to repeat it: npm run fuzz -- ${target} ${join('build/fuzz/crashes', target, file)}`);
  return false;
}

const targets = chosen.length > 0 ? chosen : TARGETS;
await build(targets);
if (files.length > 0) process.exit(await run(join(OUT, `${targets[0]}_fuzz`), files));
const waiting = [...targets];
async function work() {
  for (let target = waiting.shift(); target !== undefined; target = waiting.shift())
    if (!(await fuzz(target))) process.exitCode = 1;
}
await Promise.all(Array.from({ length: WORKERS }, work));
