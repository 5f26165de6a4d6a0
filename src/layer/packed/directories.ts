/** The directories of packed layers, which are made when the first one is written. */
import type { Layout } from '../../system/layout.ts';
import type { BatchStep } from '../../system/native.ts';

/** Returns the steps that make the directories, where they are missing. */
export function packedDirectories(layout: Layout): BatchStep[] {
  const paths = [layout.packed, layout.packedLayers, layout.packedLowers];
  return paths.map((path) => ({ op: 'mkdir', path, mode: 0o700, exist: true }));
}

/** Returns the step that makes a new directory. */
export function makeDirectory(path: string): BatchStep {
  return { op: 'mkdir', path, mode: 0o700 };
}
