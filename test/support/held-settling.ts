/** Settling in the background that waits for the test, so that the state before it can be seen. */
import { vi } from 'vitest';
import { LayerStore } from '../../src/layer/store.ts';

export interface HeldSettling extends Disposable {
  /** Resolves when the first layer is about to be extracted. */
  readonly begun: Promise<void>;
  /** Lets it continue. */
  readonly release: () => void;
}

/** Holds each image that is settled, at its first layer. Disposing also lets it continue. */
export function holdSettling(): HeldSettling {
  const { restage } = LayerStore.prototype;
  let begin = (): void => undefined;
  let release = (): void => undefined;
  const begun = new Promise<void>((resolve) => (begin = resolve));
  const released = new Promise<void>((resolve) => (release = resolve));
  const spy = vi.spyOn(LayerStore.prototype, 'restage').mockImplementation(async function (
    this: LayerStore,
    layer,
    options,
  ) {
    begin();
    await released;
    return restage.call(this, layer, options);
  });
  return {
    begun,
    release,
    [Symbol.dispose]: () => {
      release();
      spy.mockRestore();
    },
  };
}
