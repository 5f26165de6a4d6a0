/**
 * The modules that `store.registry` imports when they are first needed: everything that talks to a registry.
 */
export { Distribution } from '../../image/distribution.ts';
export { pullLayout } from '../../transfer/pull/layout.ts';
export { pull } from '../../transfer/pull/pull.ts';
export { push } from '../../transfer/push/push.ts';
export { DockerConfig } from '../../transfer/registry/auth/docker-config.ts';
export { openRepository } from '../../transfer/registry/client.ts';
export { WebFile } from '../../transfer/registry/web-file.ts';
export { inspectRemote, remoteReferrers, remoteTags, removeRemote } from '../../transfer/remote/remote.ts';
export { login, logout } from '../login.ts';
export { storeSettings } from '../store-settings.ts';
