/** The layers that are staged, in either form. */
import type { DiffID } from '../core/digest.ts';
import type { LayerApplied } from '../system/native.ts';
import type { StagedPackedLayer } from './packed/stage.ts';

/** A layer that is written and verified, but not published. The caller publishes or discards it. */
export type StagedLayer = StagedClassicLayer | StagedPackedLayer;

/** A staged layer in Docker's form. */
export interface StagedClassicLayer {
  readonly packed?: undefined;
  readonly cacheId: string;
  /** Its directory below `layerdb/tmp`: `write-set-<digits>`. */
  readonly writeSet: string;
  readonly applied: LayerApplied;
  readonly diffId: DiffID;
  /** Its short name, where containers name the layer by one already. */
  readonly link?: string | undefined;
}
