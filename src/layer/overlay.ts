/**
 * Makes the directories of overlay2, `overlay2/<id>/{diff,link,lower,work,committed}`, and the short names
 * `overlay2/l/<link> -> ../<id>/diff`, as moby/moby: daemon/graphdriver/overlay2/overlay.go does. The short
 * names exist because the mount data of a stack must fit into one page: 128 lowers of `l/`, 26 characters and
 * a colon are 3711 bytes, with `l/` relative to overlay2.
 */
import { closeSync, constants } from 'node:fs';
import { LayerstackError } from '../core/errors.ts';
import { randomName } from '../core/random.ts';
import type { Layout } from '../system/layout.ts';
import type { BatchStep } from '../system/native.ts';
import { openStoreFd, readTexts } from '../system/store-files.ts';

const { O_CREAT, O_WRONLY } = constants;

/**
 * Returns a new cache-id or mount-id of 64 hex digits. At least one of the first 12 is a letter: Docker uses
 * the first 12 as a host name, which must not be a number.
 */
export function newOverlayId(): string {
  for (;;) {
    const id = randomName(32).toString('hex');
    if (/[a-f]/.test(id.slice(0, 12))) return id;
  }
}

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** Returns a new short name: 26 characters of base32, 130 random bits. */
export function newLinkId(): string {
  let link = '';
  for (const byte of randomName(26)) link += BASE32.charAt(byte & 31);
  return link;
}

/** Returns whether the text has the form of a short name. */
export function isLinkId(text: string): boolean {
  return /^[A-Z2-7]{26}$/.test(text);
}

/** Returns whether a lower is a short name below `overlay2`: `l/ABC…`. */
export function isShortName(lower: string): boolean {
  return lower.startsWith('l/') && isLinkId(lower.slice(2));
}

/** The facts that a layer's directory is made from. */
export interface OverlaySpec {
  readonly id: string;
  readonly link: string;
  /** The layers below, topmost first, as {@link Overlay.lowersOf} returns them; empty for a base layer. */
  readonly lowers: readonly string[];
  /**
   * The short name belongs to a directory that this one replaces. {@link Overlay.takeOverSteps} will point it
   * to this one, so that layers on top of the old directory use the new one. Default false.
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

  /** Returns the steps that make `overlay2/<id>` and its `diff`. Neither may exist. */
  createSteps(id: string): BatchStep[] {
    return [
      { op: 'mkdir', path: this.#layout.overlay(id), mode: 0o710 },
      { op: 'mkdir', path: this.#layout.overlay(id, 'diff'), mode: 0o755 },
    ];
  }

  /**
   * Returns the steps that give a directory of {@link createSteps} its short name and its place in the stack.
   * They write `link` before the symlink, so that the removal of a half-made directory finds the symlink too.
   * The parent's `committed` must exist before ({@link commit}).
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

  /** Returns the steps that point the short name of a replaced directory to its replacement. */
  takeOverSteps(spec: OverlaySpec): BatchStep[] {
    return [{ op: 'unlink', path: this.#layout.link(spec.link), missing: true }, this.#symlink(spec)];
  }

  #symlink({ id, link }: OverlaySpec): BatchStep {
    return { op: 'symlink', path: this.#layout.link(link), target: `../${id}/diff` };
  }

  /**
   * Marks `id` as the parent of a layer by an empty file `committed`. Not synced. A second call does nothing.
   */
  async commit(id: string): Promise<void> {
    if (this.#committed.has(id)) return;
    closeSync(openStoreFd(this.#layout.at(this.#layout.overlay(id, 'committed')), O_WRONLY | O_CREAT));
    this.#committed.add(id);
  }

  /**
   * Returns the stack with `id` on top: its own short name, then its lowers, topmost first, e.g. `l/ABC…`,
   * relative to `overlay2`. Joined by colons, it is the `lower` of a child.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT when `link` is missing or malformed.
   */
  async lowersOf(id: string): Promise<string[]> {
    const path = this.#layout.at(this.#layout.overlay(id, 'link'));
    const [link, lower] = (await readTexts([path, this.#layout.at(this.#layout.overlay(id, 'lower'))])).map(
      (text) => text?.trim(),
    );
    if (link === undefined || !isLinkId(link)) {
      throw new LayerstackError(
        'ERR_STORE_CORRUPT',
        `layer directory ${id} has no valid short name: ${path}`,
        {
          path,
          layer: id,
        },
      );
    }
    return [`l/${link}`, ...(lower ? parseLowers(lower, this.#layout, id) : [])];
  }
}

/**
 * Returns the stack that the `lower` of `overlay2/<id>` names.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT when it names anything but short names: overlayfs would
 *   mount any directory.
 */
export function parseLowers(text: string, layout: Layout, id: string): string[] {
  const lowers = text.split(':');
  const wrong = lowers.find((lower) => !isShortName(lower));
  if (wrong === undefined) return lowers;
  const path = layout.at(layout.overlay(id, 'lower'));
  throw new LayerstackError(
    'ERR_STORE_CORRUPT',
    `${path} names ${JSON.stringify(wrong.slice(0, 100))}, which is not the short name of a layer: \`fsck --repair\` writes the file again`,
    { path },
  );
}
