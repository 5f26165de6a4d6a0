import { describe, expectTypeOf, it } from 'vitest';
import type { ErrorCode, ErrorKind, LayerstackError } from '../../src/core/errors.ts';
import {
  chainIds,
  digestOf,
  hexOf,
  isDigest,
  parseDigest,
  topChainId,
  type ChainID,
  type Digest,
  type DiffID,
  type ImageID,
} from '../../src/core/digest.ts';
import * as json from '../../src/core/json.ts';
import type { ProgressEvent } from '../../src/core/progress.ts';
import type { Reference } from '../../src/core/reference.ts';

declare const digest: Digest;
declare const diffId: DiffID;
declare const chainId: ChainID;
declare const imageId: ImageID;

describe('digests', () => {
  it('of each meaning are digests and strings', () => {
    expectTypeOf<DiffID>().toExtend<Digest>();
    expectTypeOf<ChainID>().toExtend<Digest>();
    expectTypeOf<ImageID>().toExtend<Digest>();
    expectTypeOf<Digest>().toExtend<string>();
    expectTypeOf(hexOf).toBeCallableWith(imageId);
  });

  it('of one meaning are not of another', () => {
    expectTypeOf<Digest>().not.toExtend<DiffID>();
    expectTypeOf<string>().not.toExtend<Digest>();
    expectTypeOf<DiffID>().not.toExtend<ChainID>();
    expectTypeOf<ChainID>().not.toExtend<DiffID>();
    expectTypeOf<ImageID>().not.toExtend<ChainID>();
    // @ts-expect-error -- the digest of a blob is not a DiffID
    chainIds([digest]);
    // @ts-expect-error -- a ChainID is not a DiffID
    chainIds([chainId]);
    // @ts-expect-error -- text is a digest only once parsed
    hexOf('sha256:00');
    chainIds([diffId]);
  });

  it('come out as what they are', () => {
    expectTypeOf(parseDigest('x')).toEqualTypeOf<Digest>();
    expectTypeOf(digestOf('x')).toEqualTypeOf<Digest>();
    expectTypeOf(chainIds([diffId])).toEqualTypeOf<ChainID[]>();
    expectTypeOf(topChainId([])).toEqualTypeOf<ChainID | undefined>();
    const text = 'x' as string;
    if (isDigest(text)) expectTypeOf(text).toEqualTypeOf<Digest>();
  });
});

describe('decoders', () => {
  it('yield the types of their fields', () => {
    const decoder = json.object({
      name: json.string,
      size: json.optional(json.integer),
      tags: json.array(json.string),
      labels: json.map(json.boolean),
      level: json.withDefault(json.integer, 0),
    });
    expectTypeOf(decoder({}, '')).toEqualTypeOf<{
      readonly name: string;
      readonly size: number | undefined;
      readonly tags: string[];
      readonly labels: ReadonlyMap<string, boolean>;
      readonly level: number;
    }>();
  });
});

describe('progress events', () => {
  it('are told apart by their type', () => {
    const event = {} as ProgressEvent;
    if (event.type === 'image') expectTypeOf(event.id).toEqualTypeOf<ImageID>();
    if (event.type === 'layer-progress') expectTypeOf(event.current).toEqualTypeOf<number>();
    // @ts-expect-error -- a notice has no bytes
    if (event.type === 'notice') void event.current;
  });
});

describe('values', () => {
  it('cannot be changed', () => {
    const reference: Reference = { repository: 'x' };
    // @ts-expect-error -- readonly
    reference.repository = 'y';
    // @ts-expect-error -- absent, not undefined
    const wrong: Reference = { repository: 'x', tag: undefined };
    void wrong;
  });

  it('have error codes that are known', () => {
    expectTypeOf<LayerstackError['code']>().toEqualTypeOf<ErrorCode>();
    expectTypeOf<LayerstackError['kind']>().toEqualTypeOf<ErrorKind>();
    expectTypeOf<'ERR_NO_SUCH_CODE'>().not.toExtend<ErrorCode>();
  });
});
