/**
 * layerstack: Docker's own overlay2 layout, in process. The bytes of an image pass through the folders in
 * this order: transfer (in) -> layer -> image -> container -> transfer (out). `Layerstack` opens a store; its
 * `images`, `containers` and `registry` do the work.
 */
export { openArchive } from './app/archives.ts';
export type { Archives } from './app/archives.ts';
export type { OpenArchive } from './app/open-archive.ts';
export type { ForkSource, ListSnapshotsOptions, SnapshotRef, Snapshots } from './app/snapshots.ts';
export type { Snapshot, SnapshotSize } from './snapshot/snapshot.ts';
export type { ForkOptions, RollbackOptions, SnapshotOptions } from './snapshot/store.ts';
export { Layerstack } from './app/layerstack.ts';
export type { DiskUsage, SnapshotUsage } from './app/disk-usage.ts';
export type { OpenOptions } from './app/open-options.ts';
export { DEFAULT_ROOT } from './system/environment.ts';
export type { Images } from './app/images.ts';
export type { Containers, NewContainer } from './app/containers.ts';
export type { ContainerRef } from './app/container-contents.ts';
export type { StoreRegistry } from './app/store-registry.ts';
export { Registry } from './app/registry.ts';
export type { RegistryOptions } from './app/registry.ts';
export type { EventsOptions, RecordedEvent } from './app/event-reader.ts';
export type {
  ContainerAction,
  ImageAction,
  SnapshotAction,
  StoreEvent,
  StoreListener,
} from './app/store-events.ts';
export type { Finding } from './app/doctor.ts';
export type { CloseOptions } from './app/store-parts.ts';
export type { BuildEvent, BuildOptions, BuildResult, BuildSource } from './build/options.ts';
export type { PackOptions } from './image/pack.ts';
export type { SettleOptions } from './image/settle.ts';
export type { FsckOptions } from './app/fsck.ts';
export type { Orphan, OrphanKind, OrphanOptions, OrphanState } from './rwlayer/orphans.ts';
export type { ScrubOptions } from './app/scrub.ts';
export type { ScrubPass, ScrubResult, ScrubStatus } from './app/scrub-status.ts';
export type { LoginOptions, LoginResult, LogoutOptions } from './app/login.ts';
export type { ArchiveOptions, PathArchive, PutArchiveOptions } from './container/archive.ts';
export type { CopyOptions } from './container/copy.ts';
export type { PathStat } from './container/path-stat.ts';
export type { Bundle, BundleOptions } from './container/bundle.ts';
export type { ContainerOverrides } from './container/config.ts';
export type { ContainerInspect } from './container/inspect.ts';
export type { Mount, MountOptions, UnmountOptions } from './container/mount.ts';
export type { Container, ContainerState } from './container/record.ts';
export type { ProcessOptions, RunResult, StartedRun } from './container/run/options.ts';
export type { RunOptions } from './container/run/run.ts';
export type { RunStreams } from './container/run/streams.ts';
export type { RuntimeSpec } from './container/spec.ts';
export type { Mapping } from './container/spec/mapping.ts';
export type { Unsupported } from './container/spec/unsupported.ts';
export type {
  ContainerPruneFilters,
  ContainerPruneResult,
  ContainerSize,
  ContainerUsage,
  CreateOptions,
  HostConfig,
  RemoveOptions,
} from './container/store.ts';
export type { ChainID, DiffID, Digest, ImageID } from './core/digest.ts';
export { LayerstackError } from './core/errors.ts';
export type { ErrorCode, ErrorFacts, ErrorKind, SystemError } from './core/errors.ts';
export type { FindingCode, StoreFinding } from './core/store-finding.ts';
export type { LayerPhase, OnProgress, ProgressEvent } from './core/progress.ts';
export type {
  DeletedRecord,
  DeleteOptions,
  HistoryRow,
  ImageFilters,
  ImageInspect,
  ImageSummary,
  ImageUsage,
  LayerTree,
  ListOptions as ImageListOptions,
  PruneOptions,
  PruneResult,
} from './image/store.ts';
export type { ArchiveMount, UnmountArchiveOptions } from './packed/archive-mounts.ts';
export type { MountedChoice } from './packed/find-mounts.ts';
export type { ArchiveChoice } from './packed/operation.ts';
export type { FileVersion } from './packed/file-version.ts';
export type { ArchiveLayerForm } from './packed/layers.ts';
export type { StorelessOptions } from './packed/open-archive.ts';
export type { ArchiveSettings } from './packed/bundle.ts';
export type { RunArchiveOptions } from './packed/run.ts';
export type { ArchiveImage, ArchiveLayer, MountedArchive, OpenArchiveOptions } from './packed/open.ts';
export type { Capabilities } from './system/caps.ts';
export type { Referrer, RemoteManifest, RemovedRemote } from './transfer/remote/remote.ts';
export type { Logger } from './system/log.ts';
export { DockerConfig } from './transfer/registry/auth/docker-config.ts';
export type { LayerWarning, Probe } from './system/native.ts';
export type { LoadedImage, LoadOptions, LoadResult, LoadWarning } from './transfer/archive/load.ts';
export type { DiskImageOptions } from './transfer/archive/disk-image.ts';
export type { PulledImage, PullOptions, PullResult } from './transfer/pull/pull.ts';
export type { PulledLayout, PullLayoutOptions } from './transfer/pull/layout.ts';
export type { PushedImage, PushOptions, PushResult } from './transfer/push/push.ts';
export { fixedCredentials } from './transfer/registry/auth/credentials.ts';
export type { Credentials, CredentialSource } from './transfer/registry/auth/credentials.ts';
