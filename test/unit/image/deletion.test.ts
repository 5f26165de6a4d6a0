import { describe, expect, it } from 'vitest';
import { digestOf, hexOf, type ImageID } from '../../../src/core/digest.ts';
import { parseReference } from '../../../src/core/reference.ts';
import { Deletion, type ImageUser } from '../../../src/image/deletion.ts';
import { parseReferences } from '../../../src/image/references.ts';

const idOf = (name: string): ImageID => digestOf(name) as ImageID;
const [a, b, c] = [idOf('a'), idOf('b'), idOf('c')];
const digest = digestOf('manifest');

interface Given {
  readonly names?: Readonly<Record<string, ImageID>>;
  readonly parents?: readonly (readonly [child: ImageID, parent: ImageID])[];
  readonly users?: readonly ImageUser[];
}

function deletion({ names = {}, parents = [], users = [] }: Given) {
  const references = parseReferences(undefined, '');
  for (const [name, id] of Object.entries(names)) references.set(parseReference(name), id);
  return { references, deletion: new Deletion({ references, parents: new Map(parents), users }) };
}

const user = (imageId: ImageID, running = false): ImageUser => ({
  containerId: 'c0ffee'.repeat(8),
  imageId,
  running,
});

describe('a name', () => {
  it('is removed alone while the image has other names', () => {
    const { deletion: plan } = deletion({ names: { 'x:1': a, 'y:1': a } });
    plan.remove(a, 'x:1');
    expect(plan.records).toEqual([{ Untagged: 'x:1' }]);
    expect(plan.images).toEqual([]);
  });

  it('takes along the digests of its repository, and as the last name the image', () => {
    const { deletion: plan } = deletion({ names: { 'x:1': a, [`x@${digest}`]: a } });
    plan.remove(a, 'x:1');
    expect(plan.records).toEqual([{ Untagged: 'x:1' }, { Untagged: `x@${digest}` }, { Deleted: a }]);
  });

  it('leaves digests of its repository while another tag needs them', () => {
    const { deletion: plan, references } = deletion({ names: { 'x:1': a, 'x:2': a, [`x@${digest}`]: a } });
    plan.remove(a, 'x:1');
    expect(references.byImage().get(a)?.length).toBe(2);
  });

  it('of an image that a container uses is removed only by force, or beside other names', () => {
    const given = { names: { 'x:1': a }, users: [user(a)] };
    const { deletion: plan, references } = deletion(given);
    expect(() => plan.remove(a, 'x:1')).toThrow('must force');
    expect(plan.records).toEqual([]);
    expect(references.get(parseReference('x:1'))).toBe(a);
    plan.remove(a, 'x:1', { force: true });
    expect(plan.images).toEqual([a]);
    const beside = deletion({ ...given, names: { 'x:1': a, 'y:1': a } });
    beside.deletion.remove(a, 'y:1');
    expect(beside.deletion.images).toEqual([]);
  });

  it('of an image with children or a running container is removed, and the image stays', () => {
    for (const given of [{ parents: [[b, a] as const] }, { users: [user(a, true)] }]) {
      const { deletion: plan } = deletion({ names: { 'x:1': a }, ...given });
      plan.remove(a, 'x:1', { force: true });
      expect(plan.records).toEqual([{ Untagged: 'x:1' }]);
    }
  });
});

describe('an id', () => {
  it('stands for the image with its names in one repository', () => {
    const { deletion: plan } = deletion({ names: { 'x:1': a, [`x@${digest}`]: a } });
    plan.remove(a, hexOf(a).slice(0, 7));
    expect(plan.records).toEqual([{ Untagged: 'x:1' }, { Untagged: `x@${digest}` }, { Deleted: a }]);
  });

  it('with names in several repositories, or a stopped container, must be forced', () => {
    const { deletion: plan } = deletion({ names: { 'x:1': a, 'y:1': a }, users: [user(b)] });
    expect(() => plan.remove(a, a)).toThrow(
      `conflict: unable to delete ${hexOf(a).slice(0, 12)} (must be forced) - image is referenced in multiple repositories`,
    );
    expect(() => plan.remove(b, b)).toThrow(
      '(must be forced) - image is being used by stopped container c0ffeec0ffee',
    );
    expect(plan.records).toEqual([]);
    plan.remove(a, a, { force: true });
    plan.remove(b, b, { force: true });
    expect(plan.images).toEqual([a, b]);
  });

  it('cannot be forced with children or running containers', () => {
    const { deletion: plan } = deletion({ parents: [[b, a]], users: [user(b, true)] });
    expect(() => plan.remove(a, a, { force: true })).toThrow(
      '(cannot be forced) - image has dependent child images',
    );
    expect(() => plan.remove(b, b, { force: true })).toThrow(
      '(cannot be forced) - image is being used by running',
    );
  });
});

describe('parents', () => {
  const chain = { parents: [[c, b] as const, [b, a] as const] };

  it('are removed with their last child, up to one that is in use', () => {
    const { deletion: plan } = deletion(chain);
    plan.remove(c, c);
    expect(plan.images).toEqual([c, b, a]);
    const named = deletion({ ...chain, names: { 'x:1': a } });
    named.deletion.remove(c, c);
    expect(named.deletion.images).toEqual([c, b]);
    const used = deletion({ ...chain, users: [user(b)] });
    used.deletion.remove(c, c);
    expect(used.deletion.images).toEqual([c]);
  });

  it('stay on request, or while they have another child', () => {
    const kept = deletion(chain);
    kept.deletion.remove(c, c, { noPrune: true });
    expect(kept.deletion.images).toEqual([c]);
    const shared = deletion({ parents: [...chain.parents, [idOf('d'), b]] });
    shared.deletion.remove(c, c);
    expect(shared.deletion.images).toEqual([c]);
  });

  it('in a circle do not loop', () => {
    const { deletion: plan } = deletion({
      parents: [
        [a, b],
        [b, a],
      ],
    });
    expect(() => plan.remove(a, a)).toThrow('image has dependent child images');
  });
});
