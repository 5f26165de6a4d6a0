/** The options of `Layerstack.open`. */
import type { Logger } from '../system/log.ts';

export interface OpenOptions {
  /** The store's directory. It is made if it is missing. Docker's own (`/var/lib/docker`) works too. */
  readonly root?: string | undefined;
  /** Writes nothing, so it works beside a running dockerd. Default false. */
  readonly readOnly?: boolean | undefined;
  /**
   * Opens a root that users other than root can write to, or rename. Such users can make root read and write
   * any file. Default false: such a root is refused (ERR_STORE_UNSAFE).
   */
  readonly allowUnsafeRoot?: boolean | undefined;
  /**
   * Default: `NODE_DEBUG=layerstack`. A call that has made its change resolves, even if a later step fails. A
   * warning that begins with `done, but` then names that step.
   */
  readonly log?: Logger | undefined;
  /**
   * The file of the native addon, for bundled programs, where it is neither in the package nor named by
   * `LAYERSTACK_ADDON`. A process loads one addon: the first `open` that names a file decides.
   */
  readonly addon?: string | undefined;
}
