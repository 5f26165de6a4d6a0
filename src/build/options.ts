/** The options of a build, its result, and what it reports. */
import type { Readable } from 'node:stream';
import type { ImageID } from '../core/digest.ts';
import type { ProgressEvent } from '../core/progress.ts';

/** What a build reports, in docker's words. */
export type BuildEvent =
  /** A line or a part of one, as docker's builder prints it: steps, and the output of RUN. */
  | { readonly type: 'stream'; readonly text: string }
  /** A step, or the whole build, has made an image. */
  | { readonly type: 'built'; readonly id: ImageID }
  | ProgressEvent;

export interface BuildOptions {
  /** The path of the Dockerfile in the context. Default `Dockerfile`. */
  readonly dockerfile?: string | undefined;
  /** The text of a Dockerfile, which then need not be in the context. */
  readonly dockerfileText?: string | undefined;
  /** Names of the image, `NAME[:TAG]`. */
  readonly tags?: readonly string[] | undefined;
  /** The stage to build, by its name or number. Default: the last one. */
  readonly target?: string | undefined;
  /** Values of ARG. */
  readonly buildArgs?: Readonly<Record<string, string>> | undefined;
  /** Labels of the image, over those of the Dockerfile. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Makes every step again. Default false. */
  readonly noCache?: boolean | undefined;
  /** Pulls the images of FROM even if the store has them. Default false. */
  readonly pull?: boolean | undefined;
  /** Images of the store whose steps count as the cache, and no others. */
  readonly cacheFrom?: readonly string[] | undefined;
  /** Makes one layer of all layers above the base. Default false. */
  readonly squash?: boolean | undefined;
  /** The network of RUN. `none`: only the device lo. Default none. */
  readonly network?: 'none' | 'host' | undefined;
  /** `OS/ARCH[/VARIANT]` of the images of FROM. Default: this machine's. */
  readonly platform?: string | undefined;
  /** Files of the host that `RUN --mount=type=secret` shows, by their ids. */
  readonly secrets?: Readonly<Record<string, string>> | undefined;
  /** Settings of RUN for the runtime, in docker's form, such as `Memory`, `ShmSize` and `ExtraHosts`. */
  readonly hostConfig?: Readonly<Record<string, unknown>> | undefined;
  /** A runtime by name or path. Default: `runc`, or `crun` where runc is not installed. */
  readonly runtime?: string | undefined;
  /**
   * Seconds since 1970: the date of the image, and the latest time in its layers. Two builds of the same
   * input then give the same bytes.
   */
  readonly sourceDateEpoch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((event: BuildEvent) => void) | undefined;
}

/** A directory, or the bytes of a tar. */
export type BuildSource = string | Readable;

export interface BuildResult {
  readonly imageId: ImageID;
  /** The names that the image got. */
  readonly tags: readonly string[];
  /** Remarks about the Dockerfile and the options, such as unused build arguments. */
  readonly warnings: readonly string[];
}
