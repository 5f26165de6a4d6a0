/**
 * The directories of overlay2, `overlay2/<id>/{diff,link,lower,work,committed}` and the short names
 * `overlay2/l/<link> -> ../<id>/diff`, as moby/moby: daemon/graphdriver/overlay2/overlay.go makes them.
 * The short names exist because the mount data of a stack must fit one page: 128 lowers of `l/` + 26 characters
 * and a colon are 3711 bytes, with `l/` relative to overlay2.
 */
import { closeSync, constants } from 'node:fs';
import { LayerstackError } from '../core/errors.ts';
import { randomName } from '../core/random.ts';
import type { Layout } from '../system/layout.ts';
import type { BatchStep } from '../system/native.ts';
import { openStoreFd, readTexts } from '../system/store-files.ts';

const { O_CREAT, O_WRONLY } = constants;

/**
 * A new cache-id or mount-id: 64 hex digits. The first 12 are never all decimal, since Docker shortens ids to
 * 12 and hostnames must not be numbers.
 */
export function newOverlayId(): string {
  for (;;) {
    const id = randomName(32).toString('hex');
    if (/[a-f]/.test(id.slice(0, 12))) return id;
  }
}

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** A new short name: 26 characters of base32, 130 random bits. */
export function newLinkId(): string {
  let link = '';
  for (const byte of randomName(26)) link += BASE32.charAt(byte & 31);
  return link;
}

/** What a layer's directory is made from. */
export interface OverlaySpec {
  readonly id: string;
  readonly link: string;
  /** The layers below, topmost first, as {@link Overlay.lowersOf} gives them; empty for a base layer. */
  readonly lowers: readonly string[];
  /**
   * The short name is that of a directory which this one replaces, so that the layers stacked on the old one find the
   * new: {@link Overlay.takeOverSteps} will turn it round. Default false.
   */
  readonly takesOver?: boolean;
}

/** The overlay2 directories of one store. */
export class Overlay {
  readonly #layout: Layout;
  readonly #committed = new Set<string>();

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** Makes `overlay2/<id>` and its `diff`. Nothing may exist yet. */
  createSteps(id: string): BatchStep[] {
    return [
      { op: 'mkdir', path: this.#layout.overlay(id), mode: 0o710 },
      { op: 'mkdir', path: this.#layout.overlay(id, 'diff'), mode: 0o755 },
    ];
  }

  /**
   * Gives a directory made by {@link createSteps} its short name and its place in the stack. `link` is written
   * before the symlink, so that whoever finds the directory half made can find the symlink too. The parent's
   * `committed` must be there before ({@link commit}).
   */
  stackSteps(spec: OverlaySpec): BatchStep[] {
    const layout = this.#layout;
    const steps: BatchStep[] = [
      { op: 'write', path: layout.overlay(spec.id, 'link'), data: spec.link, mode: 0o644 },
    ];
    if (spec.takesOver !== true) steps.push(this.#symlink(spec));
    if (spec.lowers.length > 0) {
      steps.push(
        { op: 'mkdir', path: layout.overlay(spec.id, 'work'), mode: 0o700 },
        { op: 'write', path: layout.overlay(spec.id, 'lower'), data: spec.lowers.join(':'), mode: 0o644 },
      );
    }
    return steps;
  }

  /** Points the short name of a replaced directory to the one in its place. */
  takeOverSteps(spec: OverlaySpec): BatchStep[] {
    return [{ op: 'unlink', path: this.#layout.link(spec.link), missing: true }, this.#symlink(spec)];
  }

  #symlink({ id, link }: OverlaySpec): BatchStep {
    return { op: 'symlink', path: this.#layout.link(link), target: `../${id}/diff` };
  }

  /** Marks `id` as the parent of some layer (an empty file `committed`). Second call: no-op. Not synced. */
  async commit(id: string): Promise<void> {
    if (this.#committed.has(id)) return;
    closeSync(openStoreFd(this.#layout.at(this.#layout.overlay(id, 'committed')), O_WRONLY | O_CREAT));
    this.#committed.add(id);
  }

  /**
   * The stack that `id` tops: its own short name, then its lowers, topmost first, e.g. `l/ABC…`, relative to
   * `overlay2`. Joined by colons it is the `lower` of a child.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT when `link` is missing or malformed.
   */
  async lowersOf(id: string): Promise<string[]> {
    const path = this.#layout.at(this.#layout.overlay(id, 'link'));
    const [link, lower] = (await readTexts([path, this.#layout.at(this.#layout.overlay(id, 'lower'))])).map(
      (text) => text?.trim(),
    );
    if (link === undefined || !/^[A-Z2-7]{26}$/.test(link)) {
      throw new LayerstackError(
        'ERR_STORE_CORRUPT',
        `layer directory ${id} has no valid short name: ${path}`,
        {
          path,
          layer: id,
        },
      );
    }
    return [`l/${link}`, ...(lower ? lower.split(':') : [])];
  }
}
