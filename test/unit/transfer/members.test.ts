import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { announcedDigest } from '../../../src/transfer/archive/archive.ts';
import { checkMemberName, cleanName, Members } from '../../../src/transfer/archive/members.ts';

const table = (...links: [string, 'symlink' | 'hardlink', string][]) => {
  const members = new Members<string>();
  members.add('a/layer.tar', 'A');
  members.add('./b//layer.tar', 'B');
  for (const link of links) members.addLink(...link);
  return members;
};

describe('names of members', () => {
  it('are cleaned and never climb', () => {
    expect(['./a//b/../c/', '/x', '../../x', '.', '', 'a/./b'].map(cleanName)).toEqual([
      'a/c',
      'x',
      'x',
      '',
      '',
      'a/b',
    ]);
    fc.assert(
      fc.property(fc.array(fc.constantFrom('..', '.', '', 'a', 'b')), (parts) => {
        const clean = cleanName(parts.join('/'));
        expect(clean.split('/')).not.toContain('..');
        expect(cleanName(clean)).toBe(clean);
      }),
    );
  });

  it('are found in every spelling; the last of equal ones counts', () => {
    const members = table();
    expect(members.find('b/layer.tar')).toEqual({ name: 'b/layer.tar', content: 'B' });
    members.add('/b/layer.tar', 'B2');
    expect(members.find('./b/layer.tar')?.content).toBe('B2');
    expect(members.find('c')).toBeUndefined();
    expect(members.find('b')).toBeUndefined();
  });

  it('lead through links inside the archive only', () => {
    const find = (name: string, ...links: [string, 'symlink' | 'hardlink', string][]) =>
      table(...links).find(name)?.name;
    expect(find('c/layer.tar', ['c/layer.tar', 'symlink', '../a/layer.tar'])).toBe('a/layer.tar');
    expect(find('c/layer.tar', ['c/layer.tar', 'hardlink', 'a/layer.tar'])).toBe('a/layer.tar');
    expect(find('c', ['c', 'symlink', '/a/layer.tar'])).toBe('a/layer.tar');
    expect(find('c', ['c', 'symlink', '../../../a/layer.tar'])).toBe('a/layer.tar');
    expect(find('d/layer.tar', ['d', 'symlink', 'a'])).toBe('a/layer.tar');
    expect(find('d', ['d', 'symlink', 'e'], ['e', 'symlink', 'a/layer.tar'])).toBe('a/layer.tar');
    expect(find('d', ['d', 'symlink', 'missing'])).toBeUndefined();
    expect(find('d', ['d', 'symlink', 'd'])).toBeUndefined();
    expect(find('d', ['d', 'symlink', 'e'], ['e', 'symlink', 'd'])).toBeUndefined();
    expect(find('d/x', ['d', 'symlink', 'd/d'])).toBeUndefined();
  });

  it('of a manifest may not leave the archive', () => {
    for (const name of ['/etc/passwd', '../x', 'a/../../x', 'a/..', ''])
      expect(() => checkMemberName('x.tar', 'manifest.json', name)).toThrow(
        expect.objectContaining({ code: 'ERR_ARCHIVE_MEMBER', path: 'x.tar' }),
      );
    for (const name of ['a', './a', 'a..b/c', '...']) checkMemberName('x.tar', 'manifest.json', name);
  });

  it('may announce a digest', () => {
    const hex = 'a'.repeat(64);
    for (const name of [`blobs/sha256/${hex}`, `./blobs/sha256/${hex}`, `${hex}.json`, `sha256:${hex}`])
      expect(announcedDigest(name)).toBe(`sha256:${hex}`);
    for (const name of [
      `${hex}/layer.tar`,
      `${hex}.tar`,
      `x/${hex}.json`,
      `blobs/sha512/${hex}`,
      'manifest.json',
    ])
      expect(announcedDigest(name)).toBeUndefined();
  });
});
