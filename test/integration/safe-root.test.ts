/**
 * A root that others than root can write to, by itself or by a directory that it is in, is refused, and
 * doctor says so.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  rmdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { rejection } from '../support/errors.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';

let scratch: string;
let parent: string;
let root: string;

beforeEach(() => {
  scratch = makeScratch('safe');
  parent = join(scratch, 'parent');
  root = join(parent, 'store');
  mkdirSync(root, { recursive: true, mode: 0o755 });
});
afterEach(() => dropScratch(scratch));

const UNSAFE: readonly (readonly [name: string, make: () => string])[] = [
  ['a root that everybody can write', () => mode(root, 0o777)],
  ['a root that everybody can write, with the sticky bit', () => mode(root, 0o1777)],
  ['a root that a group can write', () => group(root)],
  ['a root of another user', () => owner(root)],
  ['a root with an access control list', () => acl(root)],
  ['a parent that everybody can write', () => mode(parent, 0o777)],
  ['a parent that a group can write', () => group(parent)],
  ['a parent of another user', () => owner(parent)],
  ['a parent of the parent', () => mode(scratch, 0o757)],
];

function mode(path: string, bits: number): string {
  chmodSync(path, bits);
  return path;
}

function group(path: string): string {
  chownSync(path, 0, 1000);
  return mode(path, 0o775);
}

function owner(path: string): string {
  chownSync(path, 1000, 0);
  return path;
}

/** As setfacl -m u:1000:rwx writes it: the list goes with the bits of the group. */
function acl(path: string): string {
  const entry = (tag: number, perm: number, id = 0xffffffff): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeUInt16LE(tag, 0);
    bytes.writeUInt16LE(perm, 2);
    bytes.writeUInt32LE(id, 4);
    return bytes;
  };
  const list = Buffer.concat([
    Buffer.from([2, 0, 0, 0]),
    ...[entry(0x01, 7), entry(0x02, 7, 1000), entry(0x04, 5), entry(0x10, 7), entry(0x20, 5)],
  ]);
  const script = `import os; os.setxattr(${JSON.stringify(path)}, 'system.posix_acl_access', bytes.fromhex('${list.toString('hex')}'))`;
  execFileSync('python3', ['-c', script]);
  return path;
}

describe.each(UNSAFE)('%s', (_, make) => {
  it('is refused, named, and left unchanged', async () => {
    const path = make();
    for (const readOnly of [false, true]) {
      const error = await rejection(Layerstack.open({ root, readOnly }));
      expect(error).toMatchObject({ code: 'ERR_STORE_UNSAFE', kind: 'denied', path });
      expect(error.message).toMatch(/--allow-unsafe-root/);
    }
    expect(readdirSync(root)).toEqual([]);
  });

  it('is opened on request', async () => {
    make();
    await (await Layerstack.open({ root, allowUnsafeRoot: true })).close();
    expect(readdirSync(root)).toContain('image');
  });

  it('is reported by doctor', async () => {
    const path = make();
    const found = (await Layerstack.diagnose(root)).find(({ name }) => name === 'root');
    expect(found).toMatchObject({ state: 'fail' });
    expect(found?.detail).toContain(path);
    expect(found?.advice).toMatch(/chmod|chown|setfacl/);
  });
});

/** Of a root that only root can write, reached by a link that others can change. */
const UNSAFE_LINKS: readonly (readonly [name: string, make: () => { asked: string; named: string }])[] = [
  ['a link of another user in a directory with the sticky bit', () => linked(0o1777, 1000)],
  ['a link in a directory that everybody can write', () => linked(0o777, 0)],
  [
    'a link to a parent, by another link',
    () => {
      const { asked, named } = linked(0o777, 0, parent);
      symlinkSync(asked, join(scratch, 'first'));
      return { asked: join(scratch, 'first/store'), named };
    },
  ],
  [
    'a link with dots',
    () => {
      const { asked, named } = linked(0o777, 0, '../others/../parent/.');
      return { asked: join(asked, 'store'), named };
    },
  ],
];

/** A link in a directory with these bits; `named`: what is to be called unsafe. */
function linked(bits: number, uid: number, target = root): { asked: string; named: string } {
  const others = join(scratch, 'others');
  const asked = join(others, 'link');
  mkdirSync(others);
  symlinkSync(target, asked);
  lchownSync(asked, uid, 0);
  chmodSync(others, bits);
  return { asked, named: uid === 0 ? others : asked };
}

describe.each(UNSAFE_LINKS)('a root that is reached by %s', (_, make) => {
  it('is refused, and reported by doctor', async () => {
    const { asked, named } = make();
    for (const readOnly of [false, true])
      expect(await rejection(Layerstack.open({ root: asked, readOnly }))).toMatchObject({
        code: 'ERR_STORE_UNSAFE',
        path: named,
      });
    expect(readdirSync(root)).toEqual([]);
    const found = (await Layerstack.diagnose(asked)).find(({ name }) => name === 'root');
    expect(found).toMatchObject({ state: 'fail' });
    expect(found?.detail).toContain(named);
    await (await Layerstack.open({ root: asked, allowUnsafeRoot: true })).close();
  });

  it('is refused if the root does not exist yet', async () => {
    const { asked, named } = make();
    rmdirSync(root);
    const error = await rejection(Layerstack.open({ root: asked }));
    expect(error).toMatchObject({ code: 'ERR_STORE_UNSAFE', path: named });
    expect(existsSync(root)).toBe(false);
  });
});

describe('a root that only root can write', () => {
  it('is opened by links that only root can change', async () => {
    const { asked } = linked(0o1777, 0);
    await (await Layerstack.open({ root: asked })).close();
    expect(readdirSync(root)).toContain('image');
  });

  it.each([
    ['below a directory with the sticky bit', () => mode(parent, 0o1777)],
    ['that a group can read', () => mode(root, 0o750)],
    ['of the group root', () => mode(root, 0o770)],
  ])('%s is opened', async (_, make) => {
    make();
    await (await Layerstack.open({ root })).close();
    const found = (await Layerstack.diagnose(root)).find(({ name }) => name === 'root');
    expect(found?.state).toBe('ok');
  });

  it('is made below /tmp, whatever the umask', async () => {
    const before = process.umask(0);
    try {
      const fresh = join(scratch, 'a/b/store');
      await (await Layerstack.open({ root: fresh })).close();
      await (await Layerstack.open({ root: fresh })).close();
    } finally {
      process.umask(before);
    }
  });
});

describe('the command', () => {
  it('refuses an unsafe root, and takes --allow-unsafe-root before the verb or after it', async () => {
    chmodSync(root, 0o777);
    const cli = new LayerstackCli(root);
    const refused = await cli.try(['images']);
    expect([refused.status, refused.stderr]).toEqual([
      1,
      expect.stringMatching(
        /^layerstack: ERR_STORE_UNSAFE: .*everybody can write to it \(mode 0777\).*chmod o-w/,
      ),
    ]);
    expect((await cli.try(['images', '--allow-unsafe-root'])).status).toBe(0);
    expect((await new LayerstackCli(root, '--allow-unsafe-root').try(['images'])).status).toBe(0);
    const doctor = await cli.try(['doctor']);
    expect([doctor.status, doctor.stdout]).toEqual([1, expect.stringMatching(/^root +fail +.*0777/m)]);
  });

  it('does not trust the registry settings in one', async () => {
    chmodSync(root, 0o777);
    mkdirSync(join(root, 'layerstack'));
    writeFileSync(join(root, 'layerstack/registries.json'), '{}');
    const ran = await new LayerstackCli(root).try(['tags', 'localhost:1/x']);
    expect(ran.stderr).toMatch(/ERR_STORE_UNSAFE/);
    expect(existsSync(join(root, 'image'))).toBe(false);
  });
});
