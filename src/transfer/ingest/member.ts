/** What holds a layer's bytes, compressed or not: a member of an archive, or a blob of a registry. */
import type { LayerPhase } from '../../core/progress.ts';
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
  /** Opens the content to be staged, any number of times. Absent for a member of a stream, whose bytes have passed by. */
  readonly open?: () => Promise<OpenLayer>;
  /** Its bytes cost more than a copy of what was staged of them, as those of a download do. Default: false. */
  readonly openOnce?: boolean;
  /** What is being done with the content, of which so many bytes were taken. */
  readonly phase?: (current: number) => LayerPhase;
}

export interface LayerMember {
  /** As messages call it: what the manifest calls it. */
  readonly name: string;
  readonly content: LayerContent;
}
