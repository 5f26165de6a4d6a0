/**
 * Renames a container: it claims the new name, then replaces `config.v2.json`, then releases the old name. A
 * name counts only while its container has it (name-index.ts), so a crash in between leaves either the old
 * name or the new one. Mirrors `moby/moby: daemon/rename.go` at v20.10.
 */
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { goJson } from '../core/go-json.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import type { NameIndex } from './name-index.ts';
import { parseContainerName } from './names.ts';
import { readText } from '../system/store-files.ts';
import { MAX_DOCUMENT_BYTES, readContainer, type Container } from './record.ts';

export interface RenameOptions {
  /** The new name. */
  readonly name: string;
  readonly signal?: AbortSignal | undefined;
}

/** @see ContainerStore.rename */
export async function renameContainer(
  root: Root,
  names: NameIndex,
  { id, name: before }: Container,
  { name, signal }: RenameOptions,
): Promise<Container> {
  const session = root.session();
  const { layout } = root;
  const wanted = parseContainerName(name);
  if (wanted === before)
    throw new LayerstackError('ERR_INVALID_ARGUMENT', `the container is called ${wanted} already`, { id });
  await names.complete();
  // The old name is locked too: otherwise another container could claim it as soon as this one has the new
  // name, and the last step would take it away again.
  const keys = [id, `name:${wanted}`, `name:${before}`];
  await using _locks = await root.locks.acquireAll('containers', keys, { signal });
  const text = readText(layout.at(layout.container(id, 'config.v2.json')), MAX_DOCUMENT_BYTES);
  const current = readContainer(layout, id);
  if (text === undefined || current === undefined)
    throw new LayerstackError('ERR_CONTAINER_NOT_FOUND', `container ${before} was removed`, { id });
  const document = { ...(JSON.parse(text) as Record<string, unknown>), Name: `/${wanted}` };
  const markers: Marker[] = [`naming.${id}`];
  const claim = (): Promise<unknown> => session.mark(markers, [names.claimStep(wanted, id)]);
  try {
    await claim().catch(async (error: unknown) => {
      if (!isSystemError(error, 'EEXIST')) throw error;
      await names.discardStale(wanted);
      await claim();
    });
    const config = layout.container(id, 'config.v2.json');
    await session.replace([{ op: 'replace', path: config, data: goJson(document), mode: 0o600 }]);
  } catch (error) {
    // If this fails too, the markers stay.
    await session.unmark(markers, names.releaseSteps(wanted, id)).catch(() => undefined);
    throw error;
  }
  await root.aftermath.run(`the name ${before} stays taken until the next writer`, () =>
    session.unmark(markers, current.name === before ? names.releaseSteps(before, id) : []),
  );
  return { ...current, name: wanted };
}
