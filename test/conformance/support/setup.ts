/**
 * Runs once before the conformance suite: a dockerd builds the fixture images and saves them. The stopped
 * daemon's root stays, for tests that open a root that dockerd wrote.
 */
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { Dockerd } from '../../support/dockerd.ts';
import { havePeers } from '../../support/peers.ts';
import { dropScratch, makeScratch } from '../../support/scratch.ts';
import { buildImages } from './images.ts';

export interface Fixtures {
  /** docker-archives that `docker save` wrote. */
  readonly whole: string;
  readonly deep: string;
  readonly base: string;
  /** The data-root in which the images were built. */
  readonly dockerRoot: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    /** Undefined if the tests run without peers; see test/support/peers.ts. */
    readonly fixtures: Fixtures | undefined;
  }
}

export default async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  if (!havePeers('dockerd', 'docker', 'busybox', 'python3', 'tar')) return undefined;
  const scratch = makeScratch('conformance');
  const fixtures: Fixtures = {
    whole: join(scratch, 'whole.tar'),
    deep: join(scratch, 'deep.tar'),
    base: join(scratch, 'base.tar'),
    dockerRoot: join(scratch, 'docker'),
  };
  try {
    const daemon = await Dockerd.start(fixtures.dockerRoot);
    try {
      await buildImages(daemon, { deep: true });
      await daemon.docker('save', '-o', fixtures.whole, 'fx/whole:1', 'fx/whole:second');
      await daemon.docker('save', '-o', fixtures.deep, 'fx/deep:125');
      await daemon.docker('save', '-o', fixtures.base, 'fx/base:1');
    } finally {
      await daemon.stop();
    }
  } catch (error) {
    await dropScratch(scratch);
    throw error;
  }
  project.provide('fixtures', fixtures);
  return () => dropScratch(scratch);
}
