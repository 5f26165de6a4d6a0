/**
 * The tar of an upper directory: read back by other programs, and applied again.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import type { ProgressEvent } from '../../src/core/progress.ts';
import { layerTar, type DiffOptions } from '../../src/layer/diff.ts';
import { call, native } from '../../src/system/native.ts';
import { apply } from '../support/applied.ts';
import { CAPABILITY } from '../support/edits.ts';
import { build, directories, scratch, snapshot } from '../support/overlay.ts';

const OVERLAY = { overlayXattrs: ['trusted.overlay.opaque'] };

async function tarOf(directory: string, options: DiffOptions = {}): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of layerTar(directory, options)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** An empty directory and the tar of what `fill` puts there. */
async function made(
  fill: (directory: string) => Promise<void> | void,
  options: DiffOptions = {},
): Promise<{ directory: string; bytes: Buffer; file: string }> {
  const root = scratch();
  const directory = join(root, 'upper');
  mkdirSync(directory);
  await fill(directory);
  const bytes = await tarOf(directory, options);
  const file = join(root, 'layer.tar');
  writeFileSync(file, bytes);
  return { directory, bytes, file };
}

const names = (file: string): string[] =>
  execFileSync('tar', ['-tf', file, '--quoting-style=literal'])
    .toString()
    .trimEnd()
    .split('\n')
    .filter(Boolean);

/** Every member as Python's tarfile sees it. */
function members(file: string): Record<string, unknown>[] {
  const script = `
import json, sys, tarfile
for m in tarfile.open(sys.argv[1], 'r:'):
    print(json.dumps({'name': m.name, 'type': m.type.decode(), 'mode': m.mode, 'uid': m.uid, 'gid': m.gid,
        'size': m.size, 'mtime': m.mtime, 'link': m.linkname, 'uname': m.uname, 'pax': m.pax_headers}))`;
  const output = execFileSync('python3', ['-c', script, file]).toString().trimEnd();
  return output.split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('layer tar', () => {
  test('gives the same upper when it is applied again, for any upper', async () => {
    await fc.assert(
      fc.asyncProperty(directories(['a', 'b', 'ç', 'a long name with spaces'], 3), async (upper) => {
        // The root's own metadata is not part of a layer.
        const plain = { ...upper, opaque: false, xattr: false, mode: 0o755, gid: 0 };
        const { bytes, directory } = await made((path) => {
          rmSync(path, { recursive: true });
          return build(path, plain);
        });
        const { diff } = await apply(bytes);
        const below = (lines: string[]): string[] => lines.filter((line) => !line.startsWith('. '));
        expect(below(await snapshot(diff, OVERLAY)).map(normal)).toEqual(
          below(await snapshot(directory, OVERLAY)).map(normal),
        );
        expect(await tarOf(directory)).toEqual(bytes);
      }),
      { numRuns: 60 },
    );
  });

  test('of an empty upper is the empty layer', async () => {
    const { bytes } = await made(() => undefined);
    expect(bytes).toEqual(Buffer.alloc(1024));
  });

  test('has sorted names, whiteouts, and the mark of an opaque directory after the directory', async () => {
    const { file } = await made(async (upper) => {
      for (const name of ['b', 'a', 'B', 'é']) writeFileSync(join(upper, name), '');
      mkdirSync(join(upper, 'd'));
      writeFileSync(join(upper, 'd/x'), '');
      await native.makeNode(join(upper, 'd/gone'), 0o020000, 0, 0);
      await native.setXattr(join(upper, 'd'), 'trusted.overlay.opaque', Buffer.from('y'));
      await native.setXattr(join(upper, 'a'), 'trusted.overlay.origin', Buffer.from('z'));
    });
    expect(names(file)).toEqual(['B', 'a', 'b', 'd/', 'd/.wh..wh..opq', 'd/.wh.gone', 'd/x', 'é']);
    expect(members(file).map(({ pax }) => Object.keys(pax as object))).not.toContainEqual(
      expect.arrayContaining([expect.stringMatching(/overlay/)]),
    );
  });

  test('is read alike by GNU tar, bsdtar and Python', async () => {
    const long = `${'d'.repeat(120)}/${'e'.repeat(130)}`;
    const { directory, file } = await made(async (upper) => {
      mkdirSync(join(upper, long), { recursive: true });
      writeFileSync(join(upper, long, 'f'.repeat(200)), 'long');
      symlinkSync('t'.repeat(300), join(upper, 'link'));
      writeFileSync(join(upper, 'big ids'), 'x');
      execFileSync('chown', ['3000000:4000000', join(upper, 'big ids')]);
      writeFileSync(join(upper, 'hard'), 'linked');
      linkSync(join(upper, 'hard'), join(upper, 'zhard'));
      writeFileSync(join(upper, 'old'), '');
      execFileSync('touch', ['-d', '@-1000', join(upper, 'old')]);
      writeFileSync(join(upper, 'exact'), '');
      utimesSync(join(upper, 'exact'), 1000, 1000);
      await native.makeNode(join(upper, 'fifo'), 0o010600, 0, 0);
      await native.makeNode(join(upper, 'null'), 0o020666, 1, 3);
      writeFileSync(join(upper, 'sticky'), '');
      execFileSync('chmod', ['6755', join(upper, 'sticky')]);
      await native.setXattr(join(upper, 'sticky'), 'user.colour', Buffer.from('blue'));
      await native.setXattr(join(upper, 'sticky'), 'security.capability', CAPABILITY);
    });
    const python = members(file);
    const of = (name: string): Record<string, unknown> | undefined =>
      python.find((member) => String(member['name']).endsWith(name));
    expect(of('hard')).toMatchObject({ name: 'hard', type: '0', uname: '', size: 6 });
    expect(of('zhard')).toMatchObject({ type: '1', link: 'hard', size: 0 });
    expect(of('big ids')).toMatchObject({ uid: 3_000_000, gid: 4_000_000 });
    expect(of('link')).toMatchObject({ type: '2', link: 't'.repeat(300) });
    expect(of('old')).toMatchObject({ mtime: -1000 });
    expect(of('exact')).toMatchObject({ mtime: 1000, pax: {} });
    expect(of('sticky')).toMatchObject({ mode: 0o6755, pax: { 'SCHILY.xattr.user.colour': 'blue' } });
    expect(of('f'.repeat(200))).toMatchObject({ name: `${long}/${'f'.repeat(200)}` });

    const expected = below(await snapshot(directory));
    for (const [program, ...options] of [
      ['tar', '--xattrs', '--xattrs-include=*', '-p'],
      ['bsdtar', '--xattrs', '-p'],
    ] as const) {
      const out = join(scratch(), 'out');
      mkdirSync(out);
      execFileSync(program, [...options, '--numeric-owner', '-C', out, '-xf', file]);
      expect(below(await snapshot(out)), program).toEqual(expected);
      expect(lstatSync(join(out, 'hard')).ino, program).toBe(lstatSync(join(out, 'zhard')).ino);
    }
  });

  test('keeps names that are not UTF-8', async () => {
    const name = Buffer.from([0x6c, 0xe4, 0x6e]);
    const { file } = await made((upper) => {
      writeFileSync(Buffer.concat([Buffer.from(`${upper}/`), name]), '');
    });
    const listed = execFileSync('tar', ['-tf', file, '--quoting-style=literal']);
    expect(listed).toEqual(Buffer.concat([name, Buffer.from('\n')]));
  });

  test('leaves sockets out, with a warning', async () => {
    const warnings: ProgressEvent[] = [];
    const { file } = await made(
      async (upper) => {
        const server = createServer();
        await new Promise<void>((resolve) => server.listen(join(upper, 's'), resolve));
        writeFileSync(join(upper, 't'), '');
        linkSync(join(upper, 's'), join(upper, 'kept'));
        server.close();
      },
      { onProgress: (event) => warnings.push(event) },
    );
    expect(names(file)).toEqual(['t']);
    expect(warnings).toEqual([
      { type: 'warning', code: 'socket', member: 'kept', message: expect.stringMatching(/socket/) as string },
    ]);
  });

  test('warns about a file that will act as a whiteout', async () => {
    const warnings: ProgressEvent[] = [];
    await made((upper) => writeFileSync(join(upper, '.wh.x'), ''), {
      onProgress: (event) => warnings.push(event),
    });
    expect(warnings).toMatchObject([{ code: 'whiteout-name', member: '.wh.x' }]);
  });

  test('turns a capability of a user namespace into a plain one', async () => {
    const third = Buffer.concat([
      Buffer.from([1, 0, 0, 3]),
      CAPABILITY.subarray(4),
      Buffer.from([0xa0, 0x86, 1, 0]),
    ]);
    const { bytes } = await made(async (upper) => {
      writeFileSync(join(upper, 'x'), '');
      await native.setXattr(join(upper, 'x'), 'security.capability', third);
    });
    const at = bytes.indexOf('SCHILY.xattr.security.capability=');
    expect(bytes.subarray(at + 33, at + 53).toString('hex')).toBe(
      Buffer.concat([Buffer.from([1, 0, 0, 2]), CAPABILITY.subarray(4)]).toString('hex'),
    );
    expect(bytes[at + 53]).toBe(0x0a);
  });

  test('has no time after SOURCE_DATE_EPOCH', async () => {
    const { file } = await made(
      (upper) => {
        writeFileSync(join(upper, 'old'), '');
        utimesSync(join(upper, 'old'), 500.25, 500.25);
        writeFileSync(join(upper, 'new'), '');
      },
      { sourceDateEpoch: 1000 },
    );
    expect(members(file)).toMatchObject([
      { name: 'new', mtime: 1000, pax: {} },
      { name: 'old', mtime: 500.25 },
    ]);
  });

  test('leaves out mounts inside', async () => {
    const { file } = await made((upper) => {
      mkdirSync(join(upper, 'proc'));
      execFileSync('mount', ['-t', 'proc', 'proc', join(upper, 'proc')]);
      writeFileSync(join(upper, 'x'), '');
    });
    expect(names(file)).toEqual(['proc/', 'x']);
  });

  test('refuses entries whose content overlayfs keeps elsewhere', async () => {
    const refused = made(async (upper) => {
      mkdirSync(join(upper, 'd'));
      writeFileSync(join(upper, 'd/f'), '');
      await native.setXattr(join(upper, 'd/f'), 'trusted.overlay.metacopy', Buffer.alloc(0));
    });
    await expect(refused).rejects.toMatchObject({ code: 'ERR_UPPER_UNSUPPORTED', member: 'd/f' });
  });

  test('fails with the name of a file that shrinks while it is read', async () => {
    const root = scratch();
    const big = join(root, 'big');
    writeFileSync(big, '');
    truncateSync(big, 64 << 20);
    const stream = layerTar(root);
    await stream.next();
    truncateSync(big, 0);
    const rest = (async () => {
      for await (const chunk of stream) void chunk;
    })();
    await expect(rest).rejects.toMatchObject({ code: 'ERR_UPPER_CHANGED', member: 'big' });
  });

  test('of a directory that does not exist is a system error with its path', async () => {
    await expect(tarOf('/nonexistent/upper')).rejects.toMatchObject({
      code: 'ENOENT',
      path: '/nonexistent/upper',
    });
  });
});

/** Without the root itself. */
function below(lines: readonly string[]): string[] {
  return lines.filter((line) => !line.startsWith('. '));
}

/** A whiteout's mode is overlayfs's, and its time nobody's. */
function normal(line: string): string {
  return line.includes(' mode=20') && line.includes('rdev=0')
    ? line.replace(/mode=\d+/, 'mode=whiteout').replace(/ mtime=\d+/, '')
    : line;
}

describe('a directory that is written to meanwhile', () => {
  /** Links that come and go, as those of package managers do. */
  const WRITER = `
    const { linkSync, rmSync } = require('node:fs');
    const at = (name) => process.argv[1] + '/' + name;
    for (let i = 0; ; i = (i + 1) % 200) {
      rmSync(at('link' + i), { force: true });
      linkSync(at('one'), at('link' + i));
    }
  `;

  test('is read to its end, even if entries vanish meanwhile', { timeout: 60_000 }, async () => {
    const root = scratch();
    const upper = join(root, 'upper');
    mkdirSync(join(upper, 'var'), { recursive: true });
    mkdirSync(join(root, 'lower/diff'), { recursive: true });
    writeFileSync(join(upper, 'var/one'), 'one');
    const writer = spawn(process.execPath, ['-e', WRITER, join(upper, 'var')], { stdio: 'ignore' });
    try {
      await vi.waitUntil(() => existsSync(join(upper, 'var/link199')), { timeout: 20_000 });
      for (let i = 0; i < 300; i++) {
        await tarOf(upper);
        await call(native.listChanges(root, 'upper', ['lower/diff']));
      }
    } finally {
      writer.kill('SIGKILL');
      await once(writer, 'exit');
    }
  });
});
