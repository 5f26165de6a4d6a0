/** The public types, as a caller meets them. */
import { describe, expectTypeOf, it } from 'vitest';
import {
  Layerstack,
  LayerstackError,
  type Bundle,
  type Container,
  type ErrorCode,
  type ErrorKind,
  type Finding,
  type ImageID,
  type ImageInspect,
  type ImageSummary,
  type LoadResult,
  type Mount,
  type NewContainer,
  type ProgressEvent,
  type PushResult,
  type PullResult,
  type Referrer,
  type Registry,
  type RemoteManifest,
  type RemovedRemote,
} from '../../src/index.ts';

declare const store: Layerstack;
declare const container: Container;

describe('Layerstack', () => {
  it('gives typed results', () => {
    expectTypeOf(Layerstack.open).returns.resolves.toEqualTypeOf<Layerstack>();
    expectTypeOf(store.images.load('x')).resolves.toEqualTypeOf<LoadResult>();
    expectTypeOf(store.registry.pull('x', { allTags: true })).resolves.toEqualTypeOf<PullResult>();
    expectTypeOf(store.registry.push('x', { compression: 'zstd' })).resolves.toEqualTypeOf<PushResult>();
    expectTypeOf(store.images.list()).resolves.toEqualTypeOf<ImageSummary[]>();
    expectTypeOf(store.images.inspect('x')).resolves.toEqualTypeOf<ImageInspect>();
    expectTypeOf(store.containers.create('x')).resolves.toEqualTypeOf<NewContainer>();
    expectTypeOf<NewContainer>().toExtend<Container>();
    expectTypeOf(store.containers.mount(container)).resolves.toEqualTypeOf<Mount>();
    expectTypeOf(store.containers.unmount('x')).resolves.toEqualTypeOf<number>();
    expectTypeOf(store.containers.bundle('x', 'dir')).resolves.toEqualTypeOf<Bundle>();
    expectTypeOf(store.registry.manifest('x')).resolves.toEqualTypeOf<RemoteManifest>();
    expectTypeOf(store.registry.tags('x')).toExtend<AsyncIterable<string>>();
    expectTypeOf(store.registry.referrers('x')).resolves.toEqualTypeOf<Referrer[]>();
    expectTypeOf(store.registry.remove('x')).resolves.toEqualTypeOf<RemovedRemote>();
    expectTypeOf<Registry['manifest']>().returns.resolves.toEqualTypeOf<RemoteManifest>();
    expectTypeOf(store.doctor()).resolves.toEqualTypeOf<Finding[]>();
    expectTypeOf(store.containers.remove('x')).resolves.toBeVoid();
  });

  it('takes paths and byte streams, names and containers', () => {
    expectTypeOf(store.images.load).parameter(0).toEqualTypeOf<string | AsyncIterable<Uint8Array>>();
    expectTypeOf(process.stdin).toExtend<Parameters<typeof store.images.load>[0]>();
    expectTypeOf(store.containers.mount).parameter(0).toEqualTypeOf<string | Container>();
  });

  it('is disposable, and so are a mount and a container that is made, but none that is found', () => {
    expectTypeOf<Layerstack>().toExtend<AsyncDisposable>();
    expectTypeOf<Mount>().toExtend<AsyncDisposable>();
    expectTypeOf<NewContainer>().toExtend<AsyncDisposable>();
    expectTypeOf<Container>().not.toExtend<AsyncDisposable>();
    const work = async (): Promise<void> => {
      await using opened = await Layerstack.open();
      await using made = await opened.containers.create('x');
      await using mount = await opened.containers.mount(made);
      expectTypeOf(mount.path).toEqualTypeOf<string>();
      // Whoever finds a container does not own it.
      expectTypeOf(opened.containers.get('x')).resolves.not.toExtend<AsyncDisposable>();
    };
    void work;
  });

  it('refuses options that do not exist', () => {
    expectTypeOf(
      store.images.import('dir', { base: 'x', changes: ['USER a'] }),
    ).resolves.toEqualTypeOf<ImageID>();
    // @ts-expect-error -- a base is named
    void store.images.import('dir', { base: 7 });
    // @ts-expect-error -- no such option
    void store.containers.create('x', { nmae: 'build' });
    // @ts-expect-error -- a number is not a reference
    void store.images.inspect(7);
    // @ts-expect-error -- results cannot be changed
    container.name = 'other';
  });
});

describe('ids', () => {
  it('are not just any text', () => {
    // @ts-expect-error -- text is not an image id
    const id: ImageID = 'sha256:0';
    void id;
    expectTypeOf<ImageID>().toExtend<string>();
  });
});

describe('events and errors', () => {
  it('are told apart by their type and code', () => {
    const show = (event: ProgressEvent): void => {
      if (event.type === 'layer-progress') expectTypeOf(event.current).toEqualTypeOf<number>();
      if (event.type === 'image') expectTypeOf(event.references).toEqualTypeOf<readonly string[]>();
    };
    void show;
    const error: unknown = undefined;
    if (LayerstackError.is(error)) {
      expectTypeOf(error.code).toEqualTypeOf<ErrorCode>();
      expectTypeOf(error.kind).toEqualTypeOf<ErrorKind>();
    }
    expectTypeOf<'ERR_IMAGE_NOT_FOUND'>().toExtend<ErrorCode>();
  });
});
