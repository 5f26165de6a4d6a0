/**
 * An opened store root. Opening for writing makes the tree, excludes dockerd for as long as the root is open
 * (LOCK_SH on `volumes/metadata.db`, on which dockerd takes LOCK_EX), tries what kernel and file system can do, and
 * removes what dead writers left half done. Opening read-only does none of that and works beside a running dockerd.
 */
import type { Capabilities } from './caps.ts';
import type { Layout } from './layout.ts';
import type { Locks } from './lock.ts';
import type { Logger } from './log.ts';
import type { Session } from './session.ts';

export interface RootOptions {
  /** Writes nothing, takes no lock; a missing tree counts as empty. Default false. */
  readonly readOnly?: boolean;
  /** Default: the `layerstack` debug log (system/log.ts). */
  readonly log?: Logger;
}

export declare class Root {
  readonly layout: Layout;
  readonly readOnly: boolean;
  readonly caps: Capabilities;
  readonly log: Logger;
  readonly locks: Locks;
  private constructor();
  static open(root: string, options?: RootOptions): Promise<Root>;
  /** @throws ERR_STORE_READ_ONLY, ERR_STORE_CLOSED */
  session(): Session;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
