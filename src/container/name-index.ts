/**
 * The index of container names: `layerstack/names/<name>` is a symlink whose text is the container's id. With
 * it, a name is found without reading every container, and is claimed in one step across processes.
 *
 * `Name` in `config.v2.json` decides: a link counts only while its container has that name. dockerd does not
 * know about the index, so it is completed from `containers/` if dockerd may have run since the last time.
 * dockerd rewrites `volumes/metadata.db` at every start, and layerstack never does. `.stamp` holds the mtime
 * of that file at the last completion, in milliseconds.
 */
import { isHex64 } from '../core/digest.ts';
import { symlink } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import type { Layout } from '../system/layout.ts';
import { call, native, type BatchStep } from '../system/native.ts';
import { forEachDeadMarker } from '../system/reconcile.ts';
import type { Root } from '../system/root.ts';
import { listEntries } from '../system/removal.ts';
import { isContainerName } from './names.ts';
import { readLink, readText, statEntry } from '../system/store-files.ts';
import { readContainer } from './record.ts';

export class NameIndex {
  readonly #root: Root;
  readonly #layout: Layout;
  #complete: Promise<void> | undefined;

  constructor(root: Root) {
    this.#root = root;
    this.#layout = root.layout;
  }

  /** Removes the links that dead writers were making or removing, if their container has another name. */
  async resume(): Promise<void> {
    await forEachDeadMarker(this.#layout, this.#root.log, 'naming', async (id) => {
      for (const name of await listEntries(this.#layout, this.#layout.names)) {
        if (this.#link(name) !== id) continue;
        await using _lock = await this.#root.locks.acquire('containers', `name:${name}`);
        if (this.#link(name) === id && this.owner(name) === undefined)
          await call(native.batch(this.#layout.root, [this.#unlink(name)]));
      }
    });
  }

  /**
   * Adds the containers that dockerd has made since the index was last complete. For writers only. dockerd
   * cannot run while a writer has the store open, so one completion for each opened store is enough.
   */
  async complete(): Promise<void> {
    this.#complete ??= this.#rebuild();
    try {
      await this.#complete;
    } catch (error) {
      this.#complete = undefined;
      throw error;
    }
  }

  /** Returns the id of the container that has `name`, or undefined. */
  owner(name: string): string | undefined {
    const id = this.#link(name);
    if (id === undefined || !isHex64(id)) return undefined;
    return readContainer(this.#layout, id)?.name === name ? id : undefined;
  }

  /**
   * Returns the step that claims `name`. It fails with EEXIST if the link exists: see {@link discardStale}.
   */
  claimStep(name: string, id: string): BatchStep & { readonly path: string } {
    return { op: 'symlink', path: this.#layout.name(name), target: id };
  }

  /**
   * Removes the link after a failed claim, if its container is removed or has another name. The caller holds
   * the lock of the name, so no other process is making that container.
   * @throws LayerstackError ERR_CONTAINER_NAME_IN_USE when the link is valid.
   */
  async discardStale(name: string): Promise<void> {
    const id = this.owner(name);
    if (id !== undefined)
      throw new LayerstackError(
        'ERR_CONTAINER_NAME_IN_USE',
        `the name "${name}" belongs to container ${id.slice(0, 12)}: choose another or remove that one`,
        { id },
      );
    await call(native.batch(this.#layout.root, [this.#unlink(name)]));
  }

  /**
   * Returns the steps that release `name` if it belongs to `id`. The caller applies them after the
   * container's removal.
   */
  releaseSteps(name: string, id: string): BatchStep[] {
    return this.#link(name) === id ? [this.#unlink(name)] : [];
  }

  /**
   * Returns the text of a name's link. A `Name` from disk may be anything, so it is checked before it becomes
   * a path.
   */
  #link(name: string): string | undefined {
    return isContainerName(name) ? readLink(this.#layout.at(this.#layout.name(name))) : undefined;
  }

  #unlink(name: string): BatchStep {
    return { op: 'unlink', path: this.#layout.name(name), missing: true };
  }

  async #rebuild(): Promise<void> {
    const layout = this.#layout;
    const stampPath = `${layout.names}/.stamp`;
    const stamp = String(statEntry(layout.at(layout.writerLock))?.mtimeMs);
    if (readText(layout.at(stampPath)) === stamp) return;
    await call(native.batch(layout.root, [{ op: 'mkdir', path: layout.names, mode: 0o700, exist: true }]));
    for (const id of await listEntries(layout, layout.containers)) {
      await nextTurn();
      const name = isHex64(id) ? readContainer(layout, id)?.name : undefined;
      // A link with this name but another id is stale if that container has another name. Then it is
      // replaced.
      if (!name || !isContainerName(name) || this.owner(name) !== undefined) continue;
      await call(native.batch(layout.root, [this.#unlink(name)]));
      await symlink(id, layout.at(layout.name(name))).catch((error: unknown) => {
        if (!isSystemError(error, 'EEXIST')) throw error;
      });
    }
    await this.#root.session().replace([{ op: 'replace', path: stampPath, data: stamp, mode: 0o600 }]);
  }
}
