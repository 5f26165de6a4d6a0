/**
 * Checks whether a directory of overlay2 can be mounted. Its `link` and its symlink in `l/` agree, `lower`
 * names the stack of its parents, and `committed` exists if the directory has children
 * (docs/store-layout.md). All of this follows from the ids and parents in layerdb, so a repair can write it
 * again. A repair never touches content.
 */
import type { ChainID } from '../core/digest.ts';
import type { Problem } from '../core/store-finding.ts';
import type { BatchStep } from '../system/native.ts';
import { findLink, readEntry } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { readLink, statEntry } from '../system/store-files.ts';
import { isLinkId, newLinkId } from './overlay.ts';

/** The expected state of a directory. */
export interface ExpectedOverlay {
  readonly id: string;
  /** The owner of the directory, for messages: `layer sha256:…`. */
  readonly owner: string;
  /** The stack below it, topmost first, as `l/…`; undefined when it is unknown. */
  readonly lowers: readonly string[] | undefined;
  /** A layer or container is on top of this directory. */
  readonly hasChildren: boolean;
}

/**
 * The key of the lock (of the kind `layers`) that a repair of a layer's files has alone, and that creations
 * of containers share. Otherwise a container that is made after the repair has listed them could be mounted
 * while its layers change.
 */
export const REPAIR = 'repair';

/** Yields the problems of a directory. The caller may repair each one before it asks for the next. */
export async function* checkOverlay(root: Root, expected: ExpectedOverlay): AsyncGenerator<Problem> {
  yield* checkLink(root, expected);
  yield* checkLower(root, expected);
  const { layout } = root;
  const committed = layout.overlay(expected.id, 'committed');
  if (expected.hasChildren && statEntry(layout.at(committed)) === undefined)
    yield {
      code: 'overlay-committed',
      severity: 'note',
      path: committed,
      message: `${expected.owner} has layers on top of it, but its file \`committed\` is missing`,
      advice: 'repair creates it',
      repair: () => apply(root, [{ op: 'write', path: committed, data: '', mode: 0o600 }]),
    };
}

async function* checkLink(root: Root, { id, owner }: ExpectedOverlay): AsyncGenerator<Problem> {
  const { layout } = root;
  const path = layout.overlay(id, 'link');
  const link = await readEntry(layout, path);
  if (link === undefined || !isLinkId(link)) {
    yield {
      code: 'overlay-link',
      severity: 'error',
      path,
      message: `${owner} has no valid short name in \`link\``,
      advice: 'repair writes it again',
      repair: () => writeLink(root, id),
    };
    return;
  }
  const target = readLink(layout.at(layout.link(link)));
  if (target === `../${id}/diff`) return;
  const other = /^\.\.\/([^/]+)\/diff$/.exec(target ?? '')?.[1];
  if (other !== undefined && (await readEntry(layout, layout.overlay(other, 'link'))) === link) {
    yield {
      code: 'overlay-link',
      severity: 'error',
      path,
      message: `${owner} has the short name of ${layout.overlay(other)} in \`link\``,
      advice: 'repair writes its own name',
      repair: () => writeLink(root, id),
    };
    return;
  }
  yield {
    code: 'overlay-link',
    severity: 'error',
    path: layout.link(link),
    message:
      target === undefined
        ? `the short name of ${owner} is missing, so neither it nor a layer on top of it can be mounted`
        : `the short name of ${owner} points to ${target}`,
    advice: 'repair creates it again',
    repair: () =>
      apply(root, [{ op: 'unlink', path: layout.link(link), missing: true }, symlink(root, link, id)]),
  };
}

/** Writes the short name of a directory into its `link`: the one that leads to it, or a new one. */
async function writeLink(root: Root, id: string): Promise<void> {
  const { layout } = root;
  const known = await findLink(layout, id);
  const name = known !== undefined && isLinkId(known) ? known : newLinkId();
  await replace(root, layout.overlay(id, 'link'), name, 0o644);
  if (name !== known) await apply(root, [symlink(root, name, id)]);
}

async function* checkLower(root: Root, { id, owner, lowers }: ExpectedOverlay): AsyncGenerator<Problem> {
  if (lowers === undefined) return;
  const { layout } = root;
  const path = layout.overlay(id, 'lower');
  const wanted = lowers.join(':');
  const found = (await readEntry(layout, path)) ?? '';
  if (found === wanted) return;
  yield {
    code: 'overlay-lower',
    severity: 'error',
    path,
    message: `the file \`lower\` of ${owner} ${found === '' ? 'is missing or empty' : 'does not list the layers below it'}`,
    advice: 'repair writes it again',
    repair: () => writeLower(root, id, lowers),
  };
}

/** Writes the `lower` of a directory. It is durable on return. */
export async function writeLower(root: Root, id: string, lowers: readonly string[]): Promise<void> {
  const path = root.layout.overlay(id, 'lower');
  if (lowers.length === 0) await apply(root, [{ op: 'unlink', path, missing: true }]);
  else await replace(root, path, lowers.join(':'), 0o644);
}

/**
 * Returns the stack with `id` on top, as a child's `lower` has it; undefined when the short name of `id` is
 * broken.
 */
export async function stackOf(
  root: Root,
  id: string,
  below: readonly string[] | undefined,
): Promise<readonly string[] | undefined> {
  const link = await readEntry(root.layout, root.layout.overlay(id, 'link'));
  return below === undefined || link === undefined || !isLinkId(link) ? undefined : [`l/${link}`, ...below];
}

/** Applies the steps. They are durable on return. */
export async function apply(root: Root, steps: readonly BatchStep[]): Promise<void> {
  await root.session().replace([...steps, { op: 'syncfs', path: root.layout.own }]);
}

/** Replaces a file, with exactly this mode. */
export async function replace(root: Root, path: string, data: string, mode: number): Promise<void> {
  await apply(root, [{ op: 'replace', path, data, mode }]);
}

/** Does the work while no other process makes or removes the layer. `more` are the keys of further locks. */
export async function underLock(
  root: Root,
  chainId: ChainID,
  work: () => Promise<void>,
  more: readonly string[] = [],
): Promise<void> {
  root.session();
  await using _lock = await root.locks.acquireAll('layers', [chainId, ...more]);
  await work();
}

function symlink({ layout }: Root, link: string, id: string): BatchStep {
  return { op: 'symlink', path: layout.link(link), target: `../${id}/diff` };
}
