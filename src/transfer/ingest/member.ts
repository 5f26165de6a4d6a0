/** The source of a layer's bytes, compressed or not: a member of an archive, or a blob of a registry. */
import type { LayerPhase } from '../../core/progress.ts';
import type { LayerSource } from '../../layer/store.ts';

/** A layer's bytes, ready to be staged. */
export interface OpenLayer {
  readonly source: LayerSource;
  /**
   * Returns whether a new opening may give better bytes, after staging has failed with `error`. Default: no.
   */
  readonly again?: (error: unknown) => Promise<boolean>;
  close(): Promise<void>;
}

export interface LayerContent {
  /** Bytes as they come, compressed or not. */
  readonly size: number;
  /**
   * Opens the content for staging, any number of times. Absent for a member of a stream, which cannot be read
   * again.
   */
  readonly open?: () => Promise<OpenLayer>;
  /** Reading the bytes again costs more than copying the staged layer, as for a download. Default: false. */
  readonly openOnce?: boolean;
  /** Returns the phase of the work when `current` bytes have been taken. */
  readonly phase?: (current: number) => LayerPhase;
}

export interface LayerMember {
  /** The name in messages, as the manifest writes it. */
  readonly name: string;
  readonly content: LayerContent;
}
