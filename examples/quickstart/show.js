/** Prints the tour: steps, commands, and directories as they are on disk. Uses colours on a terminal only. */
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

const COLOURS = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (code) => (text) => (COLOURS ? `\u001b[${code}m${text}\u001b[0m` : String(text));

export const bold = paint('1');
export const dim = paint('2');
export const red = paint('31');
export const green = paint('32');
export const yellow = paint('33');
export const cyan = paint('36');

let steps = 0;

/** Prints the heading of a step, and what the step is about. */
export function step(title, ...words) {
  console.log(`\n${bold(cyan(`${++steps}. ${title}`))}`);
  if (words.length > 0) console.log(words.join('\n'));
}

export function command(text) {
  console.log(`${dim('$')} ${bold(text)}`);
}

export function output(text) {
  if (text.trimEnd() !== '') console.log(text.trimEnd().replace(/^/gm, '  '));
}

/** Returns the files below `directory`, at most `limit` lines. Shows short content, and marks whiteouts. */
export function listing(directory, limit = 16) {
  const lines = [...walk(directory, '')];
  const more = lines.length > limit ? [dim(`… and ${lines.length - limit} more`)] : [];
  return [...lines.slice(0, limit), ...more].map((line) => `  ${line}`).join('\n');
}

function* walk(root, relative) {
  for (const name of readdirSync(join(root, relative)).sort()) {
    const path = join(relative, name);
    const stat = lstatSync(join(root, path));
    if (stat.isDirectory()) yield* walk(root, path);
    else yield describe(join(root, path), path, stat);
  }
}

function describe(path, shown, stat) {
  if (stat.isSymbolicLink()) return `${shown} ${dim(`-> ${readlinkSync(path)}`)}`;
  if (stat.isCharacterDevice() && stat.rdev === 0)
    return `${red(shown)} ${dim('character device 0:0, a whiteout:')} ${red('deleted')}`;
  if (!stat.isFile()) return shown;
  if (stat.size > 40) return `${shown} ${dim(`${stat.size} bytes`)}`;
  const text = readFileSync(path, 'utf8').trim();
  return text === '' ? `${shown} ${dim('empty')}` : `${shown} ${yellow(JSON.stringify(text))}`;
}
