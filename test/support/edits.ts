/**
 * Random changes of a root file system, as a container's processes would make them: a list of edits that is
 * applied with plain system calls. Any of them may fail (a missing directory, a rename across layers).
 */
import {
  appendFileSync,
  chmodSync,
  chownSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { native } from '../../src/system/native.ts';

export type Edit =
  | { readonly op: 'write' | 'append'; readonly path: string; readonly text: string }
  | { readonly op: 'mkdir' | 'remove' | 'fifo' | 'capability' | 'attribute' | 'touch'; readonly path: string }
  | { readonly op: 'chmod'; readonly path: string; readonly mode: number }
  | { readonly op: 'chown'; readonly path: string; readonly id: number }
  | { readonly op: 'rename' | 'link' | 'symlink'; readonly path: string; readonly to: string };

/** Generates edits of paths from `names`, with at most `depth` parts. */
export function edits(names: readonly string[], depth: number): fc.Arbitrary<Edit> {
  const path = fc
    .array(fc.constantFrom(...names), { minLength: 1, maxLength: depth })
    .map((parts) => parts.join('/'));
  const text = fc.constantFrom('', 'one', 'two', 'longer');
  return fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({ op: fc.constantFrom('write' as const, 'append' as const), path, text }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        op: fc.constantFrom(
          ...(['mkdir', 'mkdir', 'remove', 'remove', 'fifo', 'capability', 'attribute', 'touch'] as const),
        ),
        path,
      }),
    },
    fc.record({ op: fc.constant('chmod' as const), path, mode: fc.constantFrom(0o755, 0o700, 0o4755) }),
    fc.record({ op: fc.constant('chown' as const), path, id: fc.constantFrom(0, 5) }),
    {
      weight: 2,
      arbitrary: fc.record({
        op: fc.constantFrom('rename' as const, 'link' as const, 'symlink' as const),
        path,
        to: path,
      }),
    },
  );
}

/** A file capability of revision 2: cap_net_raw, effective. */
export const CAPABILITY = Buffer.from('0100000200200000000000000000000000000000', 'hex');

/** Applies the edits below `root`. */
export async function make(root: string, list: readonly Edit[]): Promise<void> {
  for (const edit of list) {
    try {
      await makeOne(root, edit);
    } catch (error) {
      if (typeof (error as NodeJS.ErrnoException).code !== 'string') throw error;
    }
  }
}

async function makeOne(root: string, edit: Edit): Promise<void> {
  const path = join(root, edit.path);
  switch (edit.op) {
    case 'write':
    case 'append':
      if (isFile(path)) (edit.op === 'write' ? writeFileSync : appendFileSync)(path, edit.text);
      break;
    case 'mkdir':
      mkdirSync(path);
      break;
    case 'remove':
      rmSync(path, { recursive: true });
      break;
    case 'fifo':
      await native.makeNode(path, 0o010644, 0, 0);
      break;
    case 'capability':
      if (isFile(path)) await native.setXattr(path, 'security.capability', CAPABILITY);
      break;
    case 'attribute':
      await native.setXattr(path, 'trusted.note', Buffer.from('x'));
      break;
    case 'touch':
      if (!lstatSync(path).isSymbolicLink()) utimesSync(path, 1_000_000, 1_000_000);
      break;
    case 'chmod':
      if (!lstatSync(path).isSymbolicLink()) chmodSync(path, edit.mode);
      break;
    case 'chown':
      (lstatSync(path).isSymbolicLink() ? lchownSync : chownSync)(path, edit.id, edit.id);
      break;
    case 'rename':
      renameSync(path, join(root, edit.to));
      break;
    case 'link':
      linkSync(path, join(root, edit.to));
      break;
    case 'symlink':
      symlinkSync(edit.to, path);
  }
}

/**
 * Whether the path is a regular file or missing. Opening a fifo would block, and a link may lead out of the
 * root.
 */
function isFile(path: string): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat === undefined || stat.isFile();
}
