/**
 * The output of pull and push, line for line as dockerd sends it (moby/moby: distribution/{pull,push}_v2.go
 * and xfer/). The first line waits for the second one, so that a missing image is still answered with an
 * error status.
 */
import type { ProgressEvent } from '../../core/progress.ts';
import { parseReference } from '../../core/reference.ts';
import type { JsonStream } from './stream.ts';

type LayerProgress = Extract<ProgressEvent, { type: `layer-${string}` }>;

abstract class TransferProgress {
  protected readonly stream: JsonStream;
  #head: (() => void) | undefined;

  constructor(stream: JsonStream) {
    this.stream = stream;
  }

  /** Handles an event. It is bound, so that it can be passed as `onProgress`. */
  readonly show = (event: ProgressEvent): void => {
    if (event.type === 'pulling')
      this.#head = () => this.stream.status(`Pulling from ${event.repository}`, event.id);
    else if (event.type === 'pushing')
      this.#head = () => this.stream.status(`The push refers to repository [${event.repository}]`);
    // Progress is also reported for each layer, so the total is not shown.
    else if (event.type !== 'progress') {
      this.#head?.();
      this.#head = undefined;
      this.say(event);
    }
  };

  protected abstract say(event: ProgressEvent): void;

  protected retry(id: string, { delayMs }: Extract<LayerProgress, { type: 'layer-retry' }>): void {
    const seconds = Math.max(1, Math.round(delayMs / 1000));
    this.stream.progress(id, `Retrying in ${seconds} second${seconds === 1 ? '' : 's'}`);
  }
}

/** The lines of a pull. */
export class PullProgress extends TransferProgress {
  /** Layers that are completely downloaded. */
  readonly #complete = new Set<string>();

  protected say(event: ProgressEvent): void {
    const { stream } = this;
    switch (event.type) {
      case 'layer-waiting':
        stream.progress(blobId(event), 'Pulling fs layer');
        break;
      case 'layer-exists':
        stream.progress(blobId(event), 'Already exists');
        break;
      case 'layer-progress':
        if (event.phase === 'extracting') this.#completed(blobId(event));
        stream.progress(blobId(event), event.phase === 'extracting' ? 'Extracting' : 'Downloading', event);
        break;
      case 'layer-retry':
        this.retry(blobId(event), event);
        break;
      case 'layer-done':
        this.#completed(blobId(event));
        stream.progress(blobId(event), 'Pull complete');
        break;
      case 'notice':
      case 'waiting':
        stream.status(event.message);
        break;
      case 'pulled':
        stream.status(`Digest: ${event.digest}`);
        stream.status(
          `Status: ${event.updated ? 'Downloaded newer image' : 'Image is up to date'} for ${event.reference}`,
        );
        break;
      case 'progress':
      case 'image':
      case 'moved':
      case 'warning':
      case 'layer-start':
      case 'layer-mounted':
      case 'layer-preparing':
      case 'pulling':
      case 'pushed':
      case 'pushing':
        break;
    }
  }

  #completed(id: string): void {
    if (this.#complete.has(id)) return;
    this.#complete.add(id);
    this.stream.progress(id, 'Verifying Checksum');
    this.stream.progress(id, 'Download complete');
  }
}

/** The lines of a push. */
export class PushProgress extends TransferProgress {
  protected say(event: ProgressEvent): void {
    const { stream } = this;
    switch (event.type) {
      case 'layer-preparing':
        stream.progress(diffId(event), 'Preparing');
        break;
      case 'layer-waiting':
        stream.progress(diffId(event), 'Waiting');
        break;
      case 'layer-exists':
        stream.progress(diffId(event), 'Layer already exists');
        break;
      case 'layer-mounted':
        stream.progress(diffId(event), `Mounted from ${event.from}`);
        break;
      case 'layer-progress':
        stream.progress(diffId(event), 'Pushing', event);
        break;
      case 'layer-retry':
        this.retry(diffId(event), event);
        break;
      case 'layer-done':
        stream.progress(diffId(event), 'Pushed');
        break;
      case 'notice':
        stream.status(event.message);
        break;
      case 'pushed': {
        const { digest, size, reference } = event;
        const tag = parseReference(reference).tag ?? '';
        stream.status(`${tag}: digest: ${digest} size: ${size}`);
        stream.aux({ Tag: tag, Digest: digest, Size: size });
        break;
      }
      case 'progress':
      case 'image':
      case 'moved':
      case 'warning':
      case 'waiting':
      case 'layer-start':
      case 'pulled':
      case 'pulling':
      case 'pushing':
        break;
    }
  }
}

/** docker's name of a pulled layer: the beginning of its blob's digest. */
function blobId({ blob, member = '' }: LayerProgress): string {
  return short(blob ?? member);
}

/** docker's name of a pushed layer: the beginning of its DiffID. */
function diffId(event: LayerProgress): string {
  return short(event.diffId ?? '');
}

function short(digest: string): string {
  return digest.replace('sha256:', '').slice(0, 12);
}
