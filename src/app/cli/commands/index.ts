/**
 * The verbs. The module of a verb is imported only when the verb is called, so that a quick command starts
 * quickly.
 */
import type { Command } from '../command.ts';

interface Verb {
  readonly summary: string;
  load(): Promise<{ readonly command: Command }>;
}

export const VERBS: Readonly<Record<string, Verb>> = {
  load: { summary: 'load images from an archive or OCI layout', load: () => import('./load.ts') },
  save: { summary: 'write images to an archive', load: () => import('./save.ts') },
  import: { summary: 'make an image from a tar or a directory', load: () => import('./import.ts') },
  build: { summary: 'build an image from a Dockerfile', load: () => import('./build.ts') },
  pull: { summary: 'download an image from its registry', load: () => import('./pull.ts') },
  push: { summary: 'upload an image to its registry', load: () => import('./push.ts') },
  login: { summary: 'log in to a registry', load: () => import('./login.ts') },
  logout: { summary: 'forget the login at a registry', load: () => import('./logout.ts') },
  manifest: { summary: 'show a manifest or index of a registry', load: () => import('./manifest.ts') },
  tags: { summary: "list a repository's tags in its registry", load: () => import('./tags.ts') },
  referrers: {
    summary: 'list manifests that refer to an image in its registry',
    load: () => import('./referrers.ts'),
  },
  'rm-remote': { summary: 'delete a tag or manifest in a registry', load: () => import('./rm-remote.ts') },
  images: { summary: 'list images', load: () => import('./images.ts') },
  inspect: { summary: 'show all data of images or containers, as JSON', load: () => import('./inspect.ts') },
  history: { summary: "show an image's history", load: () => import('./history.ts') },
  tree: { summary: 'draw the layers and the images on them', load: () => import('./tree.ts') },
  tag: { summary: 'name an image', load: () => import('./tag.ts') },
  rmi: { summary: 'remove images', load: () => import('./rmi.ts') },
  settle: { summary: "bring packed images into Docker's form", load: () => import('./settle.ts') },
  pack: { summary: 'keep the layers of images as tars', load: () => import('./pack.ts') },
  prune: { summary: 'remove images that nothing needs', load: () => import('./prune.ts') },
  df: { summary: 'show how much disk images and containers use', load: () => import('./df.ts') },
  run: { summary: 'run a command in a new container', load: () => import('./run.ts') },
  create: { summary: 'make a container from an image', load: () => import('./create.ts') },
  containers: { summary: 'list containers', load: () => import('./containers.ts') },
  rename: { summary: 'give a container another name', load: () => import('./rename.ts') },
  mount: {
    summary: 'mount the root file system of a container or archive',
    load: () => import('./mount.ts'),
  },
  unmount: { summary: 'unmount a root file system', load: () => import('./unmount.ts') },
  diff: { summary: 'list what a container changed', load: () => import('./diff.ts') },
  commit: { summary: "make an image from a container's changes", load: () => import('./commit.ts') },
  snapshot: { summary: 'take a snapshot of a container', load: () => import('./snapshot.ts') },
  snapshots: { summary: 'draw the snapshots of containers', load: () => import('./snapshots.ts') },
  fork: {
    summary: 'make containers with the files of a snapshot or container',
    load: () => import('./fork.ts'),
  },
  rollback: { summary: 'put a container back to a snapshot', load: () => import('./rollback.ts') },
  promote: { summary: 'give a container the files of a fork of it', load: () => import('./promote.ts') },
  squash: { summary: 'make one snapshot of several', load: () => import('./squash.ts') },
  'rm-snapshot': { summary: 'remove snapshots', load: () => import('./rm-snapshot.ts') },
  export: { summary: "write a container's root file system as a tar", load: () => import('./export.ts') },
  image: { summary: 'write a root file system as a disk image', load: () => import('./image.ts') },
  cp: { summary: 'copy files out of a container, or into it', load: () => import('./cp.ts') },
  bundle: { summary: 'write an OCI bundle that runc starts', load: () => import('./bundle.ts') },
  rm: { summary: 'remove containers', load: () => import('./rm.ts') },
  serve: { summary: "answer docker's clients on a socket", load: () => import('./serve.ts') },
  scrub: { summary: 'read all content at a bounded rate, and check it', load: () => import('./scrub.ts') },
  events: { summary: 'show what is done to the store', load: () => import('./events.ts') },
  fsck: { summary: 'check the store, and repair it', load: () => import('./fsck.ts') },
  completion: { summary: 'print a script for completion in a shell', load: () => import('./completion.ts') },
  version: { summary: 'show versions', load: () => import('./version.ts') },
  doctor: { summary: 'show what this machine and store can do', load: () => import('./doctor.ts') },
};

/** Verbs that only the completion scripts call. */
export const HIDDEN_VERBS: Readonly<Record<string, Pick<Verb, 'load'>>> = {
  __complete: { load: () => import('./complete.ts') },
};

/** Familiar aliases. */
export const ALIASES: Readonly<Record<string, string>> = { ps: 'containers', umount: 'unmount' };
