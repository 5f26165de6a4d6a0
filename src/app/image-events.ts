/**
 * Reports events about images. Each event carries the labels of its image, which are read only if there is a
 * listener.
 */
import type { ImageID } from '../core/digest.ts';
import { formatReference, type Reference } from '../core/reference.ts';
import type { ImageStore, OnDeletion } from '../image/store.ts';
import type { ImageAction, StoreEvents } from './store-events.ts';

export class ImageEvents {
  readonly #events: StoreEvents;
  readonly #images: ImageStore;

  constructor(events: StoreEvents, images: ImageStore) {
    this.#events = events;
    this.#images = images;
  }

  /** @param name the name of the image in the event */
  async emit(action: ImageAction, id: ImageID, name: string = id): Promise<void> {
    if (!this.#events.heard) return;
    const labels = await this.#images.get(id).then(
      ({ config }) => config.Labels,
      () => null, // It was removed meanwhile.
    );
    this.#events.image(action, id, name, labels);
  }

  /**
   * Reports a pull or a push. Docker's event is about the reference: it is one event, even if the reference
   * means several tags.
   */
  async transferred(action: 'pull' | 'push', reference: Reference): Promise<void> {
    if (!this.#events.heard) return;
    const text = formatReference(reference);
    const labels = await this.#images
      .resolve(text)
      .then((id) => this.#images.get(id))
      .then(
        ({ config }) => config.Labels,
        () => null, // Several tags came, and `latest` is not among them.
      );
    this.#events.image(action, text, reference.repository, labels);
  }

  readonly deleted: OnDeletion = ({ action, id }, labels) =>
    this.#events.image(action, id, id, action === 'untag' ? labels : null);
}
