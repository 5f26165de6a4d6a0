import type { Layer } from './layerdb.ts';
import type { LayerForm } from './stage-options.ts';

/** Returns the form of a layer on these layers (bottom first): only packed ones can be above packed ones. */
export function formAbove(below: readonly Layer[], wanted: LayerForm): LayerForm {
  return below.at(-1)?.packed ? 'packed' : wanted;
}
