/**
 * Directories for tests that mount: they are created below the temporary directory, and removed with all
 * their mounts, even after a failure. Also two forms of a tree: a spec to build it from, and lines to
 * compare.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { onTestFinished } from 'vitest';
import { native } from '../../src/system/native.ts';

/** Unmounts everything below `dir`, innermost first. */
export function unmountBelow(dir: string): void {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point === dir || point.startsWith(`${dir}/`));
  for (const point of points.reverse()) execFileSync('umount', ['-l', point]);
}

/** Creates a directory for this test. */
export function scratch(): string {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), 'layerstack-')));
  onTestFinished(() => {
    unmountBelow(dir);
    execFileSync('rm', ['-rf', dir]);
  });
  return dir;
}

/** The spec of a tree. */
export type Node =
  | { readonly kind: 'file'; readonly content: string; readonly mode: number; readonly uid: number }
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'whiteout' }
  | { readonly kind: 'fifo' }
  | DirectoryNode;

export interface DirectoryNode {
  readonly kind: 'dir';
  readonly mode: number;
  readonly gid: number;
  readonly opaque: boolean;
  readonly xattr: boolean;
  readonly children: Readonly<Record<string, Node>>;
}

/** Builds `node` at `path`, with different times that are not now. */
export async function build(path: string, node: Node): Promise<void> {
  switch (node.kind) {
    case 'file':
      writeFileSync(path, node.content);
      lchownSync(path, node.uid, 0);
      chmodSync(path, node.mode);
      utimesSync(path, 1_000_000, 1_000_000 + node.mode);
      break;
    case 'link':
      symlinkSync(node.target, path);
      break;
    case 'whiteout':
      await native.makeNode(path, 0o020000, 0, 0);
      break;
    case 'fifo':
      await native.makeNode(path, 0o010644, 0, 0);
      break;
    case 'dir':
      mkdirSync(path);
      for (const [name, child] of Object.entries(node.children)) await build(join(path, name), child);
      lchownSync(path, 0, node.gid);
      chmodSync(path, node.mode);
      if (node.opaque) await native.setXattr(path, 'trusted.overlay.opaque', Buffer.from('y'));
      if (node.xattr) await native.setXattr(path, 'user.colour', Buffer.from('blue'));
      utimesSync(path, 1_000_000, 2_000_000 + node.mode);
  }
}

/** Generates directory trees with these names, at most `depth` directories deep. */
export function directories(names: readonly string[], depth: number): fc.Arbitrary<DirectoryNode> {
  const leaf: fc.Arbitrary<Node> = fc.oneof(
    fc.record({
      kind: fc.constant('file' as const),
      content: fc.constantFrom('', 'one', 'two'),
      mode: fc.constantFrom(0o644, 0o4755, 0o600),
      uid: fc.constantFrom(0, 7),
    }),
    fc.record({
      kind: fc.constant('link' as const),
      target: fc.constantFrom('..', '/etc', names[0] ?? 'x', 'gone'),
    }),
    fc.record({ kind: fc.constant('whiteout' as const) }),
    fc.record({ kind: fc.constant('fifo' as const) }),
  );
  const child: fc.Arbitrary<Node> =
    depth === 0
      ? leaf
      : fc.oneof({ weight: 2, arbitrary: leaf }, { weight: 3, arbitrary: directories(names, depth - 1) });
  return fc.record({
    kind: fc.constant('dir' as const),
    mode: fc.constantFrom(0o755, 0o700, 0o2775, 0o1777),
    gid: fc.constantFrom(0, 5),
    opaque: fc.boolean(),
    xattr: fc.boolean(),
    children: fc.dictionary(fc.constantFrom(...names), child, { maxKeys: names.length }),
  });
}

export interface SnapshotOptions {
  /** Compares times, except those of links, which tests cannot set. Default true. */
  readonly times?: boolean;
  /** Attributes of overlayfs to compare; its other ones depend on the place of a file. Default none. */
  readonly overlayXattrs?: readonly string[];
}

/** Returns one line with all visible facts for `dir` itself and for every entry below it. */
export async function snapshot(dir: string, options: SnapshotOptions = {}): Promise<string[]> {
  const lines: string[] = [];
  await describe(dir, '.', options, lines);
  return lines;
}

async function describe(dir: string, name: string, options: SnapshotOptions, lines: string[]): Promise<void> {
  const path = join(dir, name);
  const stat = lstatSync(path, { bigint: true });
  const facts = [`${name} mode=${stat.mode.toString(8)} owner=${stat.uid}:${stat.gid}`];
  if (stat.isCharacterDevice()) facts.push(`rdev=${stat.rdev}`);
  if (stat.isSymbolicLink()) facts.push(`-> ${readlinkSync(path)}`);
  if (stat.isFile())
    facts.push(`sha=${createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 12)}`);
  if ((options.times ?? true) && !stat.isSymbolicLink() && !stat.isFIFO())
    facts.push(`mtime=${stat.mtimeNs}`);
  for (const xattr of (await native.listXattrs(path)).sort()) {
    if (xattr.startsWith('trusted.overlay.') && !options.overlayXattrs?.includes(xattr)) continue;
    facts.push(`${xattr}=${Buffer.from((await native.getXattr(path, xattr)) ?? []).toString('hex')}`);
  }
  lines.push(facts.join(' '));
  if (stat.isDirectory()) {
    // In a directory that does not merge, overlayfs lists whiteouts that stat then does not find.
    const children = readdirSync(path).filter((child) =>
      lstatSync(join(path, child), { throwIfNoEntry: false }),
    );
    for (const child of children.sort()) await describe(dir, join(name, child), options, lines);
  }
}
