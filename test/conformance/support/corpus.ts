/**
 * The tar corpus: layers that real programs write, and layers that no program should write. Unless a case
 * says otherwise, dockerd, umoci and layerstack extract the same tree, and layerstack records the same
 * tar-split as dockerd.
 */
import { execFileSync } from 'node:child_process';
import { createWriteStream, lstatSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { pack as streamPack } from 'tar-stream';
import { tar, type TarItem, type TarOptions } from '../../support/tar.ts';
import type { TreeEntry } from '../../support/tree.ts';

export interface Case {
  readonly name: string;
  /** Packs the layer from the source directories (support/sources.py). `scratch` has room for other files. */
  make(sources: string, scratch: string): Promise<Buffer> | Buffer;
  readonly store?: (layer: Uint8Array) => Uint8Array;
  /** The reason why dockerd refuses it. Then GNU tar or umoci defines the expected tree. */
  readonly dockerdRefuses?: string;
  readonly oracle?: 'gnutar' | 'umoci';
  /** The reason why umoci is left out. */
  readonly notUmoci?: string;
  /** The reason why the tar-split differs from dockerd's. */
  readonly ownSplit?: string;
  /** A deliberate difference of layerstack, applied to the tree of dockerd. */
  readonly adjust?: (entry: TreeEntry) => TreeEntry;
}

const HELPERS = fileURLToPath(new URL('.', import.meta.url));
const T = 1_400_000_000;

const program = (name: string, file: string, args: readonly string[], rest: Partial<Case> = {}): Case => ({
  name,
  make(sources, scratch) {
    const out = join(scratch, 'made.tar');
    const fill = (arg: string) => arg.replace('{out}', out).replace('{sources}', sources);
    execFileSync(file, args.map(fill), { stdio: ['ignore', 'ignore', 'pipe'] });
    return readFileSync(out);
  },
  ...rest,
});

const made = (
  name: string,
  items: readonly TarItem[],
  rest: Partial<Case> & { tar?: TarOptions } = {},
): Case => ({ name, make: () => tar(items, rest.tar), ...rest });

const gnu = (options: string, source: string, rest: Partial<Case> = {}): Case =>
  program(
    `GNU tar ${options} of ${source}`,
    'tar',
    ['--numeric-owner', ...options.split(' '), '-C', `{sources}/${source}`, '-cf', '{out}', '.'],
    rest,
  );

const bsdtar = (options: string, source: string, rest: Partial<Case> = {}): Case =>
  program(
    `bsdtar ${options} of ${source}`,
    'bsdtar',
    ['--numeric-owner', ...options.split(' '), '-C', `{sources}/${source}`, '-cf', '{out}', '.'],
    rest,
  );

const python = (format: string, source: string, rest: Partial<Case> = {}): Case =>
  program(
    `Python tarfile ${format} of ${source}`,
    'python3',
    [join(HELPERS, 'pack.py'), format, `{sources}/${source}`, '{out}'],
    rest,
  );

/** Packs a directory with everything that node tar-stream can record. */
async function tarStream(directory: string, out: string): Promise<Buffer> {
  const pack = streamPack();
  const writing = pipeline(pack, createWriteStream(out));
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()) {
    const info = lstatSync(join(directory, name));
    const common = { name, mode: info.mode & 0o7777, uid: info.uid, gid: info.gid, mtime: info.mtime };
    if (info.isDirectory()) pack.entry({ ...common, type: 'directory' });
    else if (info.isSymbolicLink())
      pack.entry({ ...common, type: 'symlink', linkname: readlinkSync(join(directory, name)) });
    else if (info.isFile()) pack.entry(common, readFileSync(join(directory, name)));
    else if (info.isFIFO()) pack.entry({ ...common, type: 'fifo' });
  }
  pack.finalize();
  await writing;
  return readFileSync(out);
}

const SPARSE =
  'the tar has the pieces of the file, not the file: they are stored as raw bytes, so that it can be saved again';
const NO_SPARSE: Partial<Case> = {
  dockerdRefuses: 'old GNU sparse',
  oracle: 'gnutar',
  notUmoci: 'refuses it too',
};

const PROGRAMS: readonly Case[] = [
  gnu('--format=gnu', 'basic'),
  gnu('--format=gnu', 'wide'),
  gnu('--format=gnu --gzip', 'basic'),
  gnu('--format=posix', 'wide'),
  gnu('--format=posix --xattrs --xattrs-include=*', 'wide'),
  gnu('--format=ustar', 'basic'),
  gnu('--format=v7 --exclude=fifo --exclude=char --exclude=device', 'basic'),
  gnu('--format=gnu --sparse', 'holes', NO_SPARSE),
  ...['0.0', '0.1', '1.0'].map((version) =>
    gnu(`--format=posix --sparse --sparse-version=${version}`, 'holes', { ownSplit: SPARSE }),
  ),
  gnu('--format=posix', 'holes'),
  bsdtar('--format=pax', 'wide'),
  bsdtar('--format=ustar', 'basic'),
  bsdtar('--format=gnutar', 'basic'),
  program('busybox tar of basic', 'busybox', ['tar', '-C', '{sources}/basic', '-cf', '{out}', '.']),
  python('gnu', 'wide'),
  python('pax', 'wide'),
  python('ustar', 'basic'),
  {
    name: 'node tar-stream of wide',
    make: (sources, scratch) => tarStream(join(sources, 'basic'), join(scratch, 'stream.tar')),
  },
];

const STRANGE: readonly Case[] = [
  made('missing parents', [{ name: 'a/b/c/file', content: 'x', mtime: T }]),
  made('an odd root entry', [
    { name: './', type: 'directory', mode: 0o700, uid: 5, mtime: T },
    { name: './x', mtime: T },
  ]),
  made(
    'whiteouts',
    [
      { name: 'd/', type: 'directory', mtime: T },
      { name: 'd/.wh.gone', uid: 3, gid: 4, mtime: T },
      { name: '.wh.top' },
      { name: 'not/there/.wh.before' },
    ],
    { notUmoci: 'it creates no missing parents' },
  ),
  made('an opaque marker before its siblings', [
    { name: 'd/', type: 'directory', mtime: T },
    { name: 'd/.wh..wh..opq' },
    { name: 'd/x', content: 'x', mtime: T },
  ]),
  made(
    'an opaque marker after its siblings',
    [
      { name: 'd/', type: 'directory', mtime: T },
      { name: 'd/x', content: 'x', mtime: T },
      { name: 'd/sub/', type: 'directory', mtime: T },
      { name: 'd/sub/y', content: 'y', mtime: T },
      { name: 'd/.wh..wh..opq' },
    ],
    { notUmoci: 'it removes the siblings before the marker' },
  ),
  made('an opaque root', [{ name: '.wh..wh..opq' }, { name: 'x', mtime: T }]),
  made('a whiteout and then the file', [{ name: '.wh.x' }, { name: 'x', content: 'back', mtime: T }]),
  made('AUFS metadata', [{ name: '.wh..wh.aufs' }, { name: '.wh..wh.plnk/', type: 'directory', mtime: T }], {
    notUmoci: 'it does not know AUFS',
  }),
  made('a 0:0 device, which is a whiteout', [{ name: 'dev/zero', type: 'char', mtime: T }], {
    notUmoci: 'to umoci it is a device',
  }),
  made(
    'a file, then a directory of its name',
    [
      { name: 'x', content: 'file', mtime: T },
      { name: 'x/', type: 'directory', mtime: T },
      { name: 'x/y', content: 'y', mtime: T },
    ],
    { dockerdRefuses: 'a name twice', oracle: 'umoci' },
  ),
  made(
    'a directory, then a file of its name',
    [
      { name: 'x/', type: 'directory', mtime: T },
      { name: 'x/y', content: 'lost', mtime: T },
      { name: 'x', content: 'file', mtime: T },
    ],
    { dockerdRefuses: 'a name twice', oracle: 'umoci' },
  ),
  made(
    'the same file three times',
    [
      { name: 'x', content: 'first', mode: 0o600, mtime: T },
      { name: './x', content: 'second', mode: 0o640, mtime: T + 1 },
      { name: 'x', content: 'the third', mode: 0o644, mtime: T + 2 },
    ],
    { dockerdRefuses: 'a name twice', oracle: 'umoci' },
  ),
  made(
    'a directory repeated with other metadata',
    [
      { name: 'd/', type: 'directory', mode: 0o700, uid: 1, mtime: T },
      { name: 'd/x', content: 'x', mtime: T },
      { name: 'd/', type: 'directory', mode: 0o711, uid: 2, mtime: T + 9 },
    ],
    { dockerdRefuses: 'a name twice', oracle: 'umoci' },
  ),
  made(
    'a symlink over a parent of what follows',
    [
      { name: 'real/', type: 'directory', mtime: T },
      { name: 'link', type: 'symlink', linkname: 'real', mtime: T },
      { name: 'link/file', content: 'through', mtime: T },
    ],
    {
      ownSplit: 'the bytes are stored under a name that differs from the member',
      notUmoci: 'it replaces the link by a directory',
    },
  ),
  made(
    'a hard link with metadata of its own',
    [
      { name: 'a', content: 'shared', mode: 0o644, mtime: T },
      { name: 'b', type: 'hardlink', linkname: 'a', mode: 0o4711, uid: 7, gid: 8, mtime: T + 5 },
    ],
    { notUmoci: 'dockerd takes the last header, umoci the first' },
  ),
  made('a hard link through dots', [
    { name: 'd/a', content: 'shared', mtime: T },
    { name: 'e/b', type: 'hardlink', linkname: './d/../d/a', mtime: T },
    { name: 'c', type: 'hardlink', linkname: '/d/a', mtime: T },
  ]),
  made(
    'a hard link to a symlink',
    [
      { name: 'soft', type: 'symlink', linkname: 'nowhere', mtime: T },
      { name: 'hard', type: 'hardlink', linkname: 'soft', mtime: T },
    ],
    { notUmoci: 'its result does not matter here' },
  ),
  made('absolute names', [
    { name: '/abs/file', content: 'x', mtime: T },
    { name: '/top', content: 'y', mtime: T },
  ]),
  made(
    'global PAX headers',
    [{ global: { comment: 'for all that follow' } }, { name: 'x', content: 'x', mtime: T }],
    { notUmoci: 'refuses the type' },
  ),
  made(
    'times before 1970',
    [
      { name: 'x', mtime: -5 },
      { name: 'y', pax: { mtime: '-1.5' } },
    ],
    { notUmoci: 'it keeps them negative' },
  ),
  made('nanoseconds', [
    { name: 'x', pax: { mtime: '1234567890.123456789' } },
    { name: 'd/', type: 'directory', pax: { mtime: '1234567890.000000001' } },
    { name: 'd/y', pax: { mtime: '987654321.5', atime: '1.25', ctime: '2.5' } },
    { name: 's', type: 'symlink', linkname: 'x', pax: { mtime: '1000000000.000000999' } },
  ]),
  made('PAX records over header fields', [
    {
      name: 'short',
      content: 'seven b',
      pax: { path: 'really/named', uid: '70000', gid: '4000000001', size: '7' },
      uid: 1,
      gid: 2,
      mtime: T,
    },
  ]),
  made('numbers in base 256', [
    {
      name: 'x',
      content: 'x',
      uid: 3_000_000,
      gid: 5,
      mtime: T,
      base256: ['uid', 'gid', 'mtime', 'size', 'mode'],
    },
  ]),
  made('old headers', [
    { name: 'file', type: '\0', content: 'x', format: 'v7', mtime: T },
    { name: 'dir/', type: '\0', format: 'v7', mode: 0o755, mtime: T },
    { name: 'dir/y', type: '0', format: 'v7', mtime: T },
  ]),
  made(
    'a size on a symlink',
    [
      { name: 'soft', type: 'symlink', linkname: 'target', size: 5, mtime: T },
      { name: 'x', content: 'x', mtime: T },
    ],
    { ownSplit: 'dockerd could not save its own record of it' },
  ),
  made('names that are no text', [
    { name: Buffer.from('latin-\xe4', 'latin1'), content: 'x', mtime: T },
    { name: 'quote"\\<&>', content: 'x', mtime: T },
    { name: 'new\nline', mtime: T },
  ]),
  made('xattrs of every kind', [
    { name: 'd/', type: 'directory', xattrs: { 'user.d': 'on d', 'trusted.t': 'x' }, mtime: T },
    { name: 'f', content: 'x', xattrs: { 'user.f': Buffer.from([0, 10, 255]), 'user.empty': '' }, mtime: T },
    { name: 's', type: 'symlink', linkname: 'f', xattrs: { 'trusted.s': 'on a link' }, mtime: T },
  ]),
  made('a setuid file with a capability and an owner', [
    {
      name: 'f',
      mode: 0o6755,
      uid: 10,
      gid: 20,
      mtime: T,
      xattrs: { 'security.capability': Buffer.from('0100000200200000000000000000000000000000', 'hex') },
    },
  ]),
  made(
    'smuggled overlay xattrs',
    [
      {
        name: 'd/',
        type: 'directory',
        xattrs: { 'trusted.overlay.opaque': 'y', 'user.kept': '1' },
        mtime: T,
      },
      {
        name: 'd/f',
        xattrs: { 'trusted.overlay.redirect': '/etc', 'trusted.overlay.metacopy': '' },
        mtime: T,
      },
    ],
    {
      notUmoci: 'it keeps them, as dockerd does',
      // The only deliberate difference: an archive must not control how overlayfs reads a layer.
      adjust: ({ xattrs, ...entry }) => {
        const kept = Object.entries(xattrs ?? {}).filter(([name]) => !name.startsWith('trusted.overlay.'));
        return kept.length > 0 ? { ...entry, xattrs: Object.fromEntries(kept) } : entry;
      },
    },
  ),
  made('uname and gname that this machine knows otherwise', [
    { name: 'x', uname: 'daemon', gname: 'daemon', uid: 4321, gid: 4322, mtime: T },
  ]),
];

const ENDS: readonly Case[] = [
  made('no end blocks', [{ name: 'x', content: 'x', mtime: T }], { tar: { endBlocks: 0 } }),
  made('no padding at the end', [{ name: 'x', content: 'x', mtime: T, unpadded: true }], {
    tar: { endBlocks: 0 },
  }),
  made('one end block', [{ name: 'x', content: 'x', mtime: T }], { tar: { endBlocks: 1 } }),
  made('ten end blocks', [{ name: 'x', content: 'x', mtime: T }], { tar: { endBlocks: 10 } }),
  made('bytes after the end', [{ name: 'x', content: 'x', mtime: T }], {
    tar: { trailing: Buffer.from('anything at all') },
  }),
  made('3 MiB after the end', [{ name: 'x', mtime: T }], { tar: { trailing: Buffer.alloc(3 << 20, 7) } }),
  made('end blocks only', []),
  { name: 'no bytes at all', make: () => Buffer.alloc(0), notUmoci: 'it wants a tar' },
  { ...made('a gzipped layer', [{ name: 'x', content: 'x', mtime: T }]), store: (layer) => gzipSync(layer) },
];

export const CASES: readonly Case[] = [...PROGRAMS, ...STRANGE, ...ENDS];

export interface Refusal {
  readonly name: string;
  /** layerstack's error code. */
  readonly code: string;
  readonly layer: Buffer;
  /** How dockerd treats it, if it does not refuse it. */
  readonly dockerdTakes?: string;
}

/** Layers that both programs refuse, or only layerstack. */
export const REFUSED: readonly Refusal[] = [
  {
    name: 'a name above the root',
    code: 'ERR_LAYER_ESCAPE',
    layer: tar([{ name: '../up', content: 'x' }]),
    dockerdTakes: 'as if the dots were not there, until 29.7, which refuses it',
  },
  {
    name: 'a hard link to a name above the root',
    code: 'ERR_LAYER_ESCAPE',
    layer: tar([
      { name: 'x', content: 'x' },
      { name: 'y', type: 'hardlink', linkname: '../../x' },
    ]),
    dockerdTakes: 'as if the dots were not there',
  },
  {
    name: 'a contiguous file',
    code: 'ERR_LAYER_INVALID',
    layer: tar([{ name: 'x', type: 'contiguous', content: 'x' }]),
  },
  {
    name: 'a whiteout after its file',
    code: 'ERR_LAYER_INVALID',
    layer: tar([{ name: 'x', content: 'x' }, { name: '.wh.x' }]),
  },
  {
    name: 'a hard link to a file that the layer does not have',
    code: 'ERR_LAYER_INVALID',
    layer: tar([{ name: 'x', type: 'hardlink', linkname: 'bin/busybox' }]),
  },
  { name: 'a whiteout without a name', code: 'ERR_LAYER_INVALID', layer: tar([{ name: 'd/.wh.' }]) },
  { name: 'a name of 300 bytes', code: 'ERR_LAYER_INVALID', layer: tar([{ name: 'n'.repeat(300) }]) },
  { name: 'an unknown type', code: 'ERR_LAYER_INVALID', layer: tar([{ name: 'x', type: 'Q' }]) },
  {
    name: 'a wrong checksum',
    code: 'ERR_LAYER_INVALID',
    layer: tar([{ name: 'x', content: 'x', checksum: 1 }]),
  },
  {
    name: 'a zero block with data after it',
    code: 'ERR_LAYER_INVALID',
    layer: Buffer.concat([tar([{ name: 'x' }], { endBlocks: 1 }), tar([{ name: 'y' }])]),
  },
  { name: 'no tar', code: 'ERR_LAYER_INVALID', layer: Buffer.from('this is no tar. '.repeat(64)) },
  {
    name: 'half a file',
    code: 'ERR_LAYER_TRUNCATED',
    layer: tar([{ name: 'x', content: 'x'.repeat(2000) }]).subarray(0, 1500),
  },
];
