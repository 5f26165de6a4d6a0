/**
 * npm run bench [-- ARCHIVE]: measures layerstack, dockerd, podman and plain tools with one docker-archive.
 * Prints a markdown table with medians, least and most values, and ratios. Without ARCHIVE (or
 * LAYERSTACK_BENCH_IMAGE) it generates a small image; `bench/real-image.sh` builds the image of the budgets.
 *
 *   --runs N         measured runs of each job (default 5), each on a new volume
 *   --rows NAME,...  only these rows of rows.js, e.g. save,rmi
 *
 * Needs root, dockerd, podman, a C compiler, openssl, python3 and room for about five times the image. Its
 * mounts are in its own mount namespace (package.json), and are removed if it is killed.
 */
import { mkdtempSync, readFileSync, statSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ROWS } from './rows.js';
import { prepareInput } from './support/input.js';
import { sh, summary } from './support/measure.js';
import { dropDirectory, onSignal } from './support/undo.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string', default: '5' }, rows: { type: 'string' } },
});
const names = options.rows?.split(',') ?? Object.keys(ROWS);
const unknown = names.filter((name) => !(name in ROWS));
if (unknown.length > 0) {
  console.error(`unknown row: ${unknown.join(', ')}; the rows are ${Object.keys(ROWS).join(', ')}`);
  process.exit(2);
}

const ms = (value) =>
  value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toFixed(value < 10 ? 2 : 0)} ms`;

function cell(measured) {
  const { median, min, max } = summary(measured.values);
  return `${ms(median)} (${ms(min)}–${ms(max)})`;
}

function line(row) {
  const median = (measured) => summary(measured.values).median;
  const ratio = (other) => (median(row.layerstack) / median(other)).toFixed(2);
  return [
    row.job,
    cell(row.layerstack),
    row.dockerd === undefined ? 'none' : `${cell(row.dockerd)}: ${ratio(row.dockerd)} ×`,
    row.podman === undefined ? 'none' : `${cell(row.podman)}: ${ratio(row.podman)} ×`,
    `${cell(row.floor)}: ${ratio(row.floor)} ×`,
    verdict(row, Number(ratio(row.floor)), median(row.layerstack)),
  ].join(' | ');
}

function verdict({ budget, budgetMs }, ratio, median) {
  if (budgetMs !== undefined) return `≤ ${budgetMs} ms: ${median <= budgetMs ? 'reached' : 'missed'}`;
  if (budget === undefined) return 'none';
  return `≤ ${budget} × floor: ${ratio <= budget ? 'reached' : 'missed'}`;
}

const firstLine = (text) => text.split('\n')[0];

async function machine(input) {
  const versions = await Promise.all([sh('dockerd', ['--version']), sh('podman', ['--version'])]);
  const size = (statSync(input.archive).size / 1e6).toFixed(0);
  return [
    `${cpus().length} × ${cpus()[0].model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.version}`,
    `${versions.map(firstLine).join('; ')}`,
    `Image: ${input.name}, ${input.layerCount} layers, ${size} MB. Load average before: ${readFileSync('/proc/loadavg', 'utf8').split(' ')[0]}.`,
    `Medians of ${options.runs} runs, each on a new loop ext4, and of 100 containers (dockerd 30, podman 15); (least–most).`,
    'layerstack is durable when it returns, as the floor is; dockerd and podman are not. dockerd is called over its API, podman through its commands.',
  ];
}

const scratch = mkdtempSync(join(tmpdir(), 'layerstack-bench-input-'));
const drop = () => dropDirectory(scratch);
onSignal(drop);
try {
  const input = await prepareInput(scratch, positionals[0] ?? process.env.LAYERSTACK_BENCH_IMAGE);
  const head = await machine(input);
  const rows = [];
  for (const name of names) {
    console.error(`measuring ${name} ...`);
    rows.push(...[await ROWS[name](input, Number(options.runs))].flat());
  }
  console.log(`${head.map((text) => `- ${text}`).join('\n')}\n`);
  console.log(
    '| job | layerstack | dockerd | podman | floor | budget |\n| --- | --- | --- | --- | --- | --- |',
  );
  for (const row of rows) console.log(`| ${line(row)} |`);
  console.log();
  for (const row of rows)
    console.log(
      `- ${row.job}: the floor is ${row.floorName}${row.layerstack.notes ? `; ${row.layerstack.notes}` : ''}.`,
    );
} finally {
  drop();
}
