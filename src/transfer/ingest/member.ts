/** What holds a layer's bytes, compressed or not: a member of an archive, or a blob of a registry. */
import type { LayerSource } from '../../layer/store.ts';

/** A layer's bytes, ready to be staged. */
export interface OpenLayer {
  readonly source: LayerSource;
  /** Whether opening it once more may give better bytes, after staging has failed with `error`. Default: no. */
  readonly again?: (error: unknown) => Promise<boolean>;
  close(): Promise<void>;
}

export interface LayerContent {
  /** Bytes as they come. */
  readonly size: number;
  /** Opens the content to be staged, any number of times; absent where its bytes are gone by (see LayerPool.ahead). */
  readonly open?: () => Promise<OpenLayer>;
  /** Reading it costs more than copying what was staged of it: it is opened once. Default: false. */
  readonly dear?: boolean;
}

export interface LayerMember {
  /** As messages call it: what the manifest calls it. */
  readonly name: string;
  readonly content: LayerContent;
}
