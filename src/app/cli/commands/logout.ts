/** `layerstack logout`: forgets a login; prints what `docker logout` prints. */
import { defineCommand } from '../command.ts';

export const command = defineCommand({
  usage: '[REGISTRY]',
  description:
    "Forget the login at a registry (Docker Hub if none is given): in docker's config.json and with its credential helper.",
  options: {},
  operands: { min: 0, max: 1 },
  examples: [{ command: 'layerstack logout registry.example', does: 'forgets a login' }],
  async run(context, _values, [given]) {
    const [{ parseRegistry }, { credentialsKey }, { DockerConfig }] = await Promise.all([
      import('../../../transfer/registry/auth/login.ts'),
      import('../../../transfer/registry/auth/credentials.ts'),
      import('../../../transfer/registry/auth/docker-config.ts'),
    ]);
    const host = parseRegistry(given);
    const key = credentialsKey(host);
    const registry = await context.registry();
    const removed = await registry.logout(host, {
      config: new DockerConfig(process.env, await context.log()),
      signal: context.signal,
    });
    context.print(removed ? `Removing login credentials for ${key}` : `Not logged in to ${key}`);
  },
});
