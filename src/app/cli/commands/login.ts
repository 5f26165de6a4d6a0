/**
 * `layerstack login`: checks credentials at a registry and stores them; prints the messages of `docker
 * login`.
 */
import type { Credentials } from '../../../transfer/registry/auth/credentials.ts';
import { defineCommand, UsageError, type Context } from '../command.ts';
import { ask } from '../prompt.ts';

/** Enough for a password, and for a token of a cloud. */
const MAX_PASSWORD_BYTES = 64 * 1024;

const HUB_ADVICE =
  "Login with your Docker ID to push and pull images from Docker Hub. If you don't have a Docker ID, head over to " +
  'https://hub.docker.com to create one.';

export const command = defineCommand({
  usage: '[OPTIONS] [REGISTRY]',
  description:
    'Log in to a registry (Docker Hub if none is given), and keep the login where docker keeps it: in config.json\n' +
    '($DOCKER_CONFIG or ~/.docker), or with the credential helper that config.json names.',
  options: {
    username: { type: 'string', short: 'u', value: 'NAME', help: 'user name' },
    password: {
      type: 'string',
      short: 'p',
      value: 'PASSWORD',
      help: 'password; other users of this machine may then see it',
    },
    'password-stdin': { type: 'boolean', help: 'read the password from stdin' },
  },
  operands: { min: 0, max: 1 },
  examples: [
    {
      command: 'pass registry/ci | layerstack login -u ci --password-stdin registry.example',
      does: 'logs in without a password on the command line',
    },
  ],
  async run(context, values, [given]) {
    const [{ parseRegistry }, { credentialsKey }, { DockerConfig }] = await Promise.all([
      import('../../../transfer/registry/auth/login.ts'),
      import('../../../transfer/registry/auth/credentials.ts'),
      import('../../../transfer/registry/auth/docker-config.ts'),
    ]);
    const { signal, stderr } = context;
    const host = parseRegistry(given);
    const registry = await context.registry();
    const config = new DockerConfig(process.env, await context.log());
    const readPassword = passwordReader(context, values);
    if (values.username === undefined && readPassword === undefined) {
      const known = await config.get(credentialsKey(host), signal);
      if (known && (await tryKnown(known))) return;
    }
    const credentials = {
      username: values.username ?? (await askName(context, host)),
      password: await (readPassword ?? askPassword)(context),
    };
    const { Status, unencrypted } = await registry.login(host, credentials, { config, signal });
    if (unencrypted !== undefined)
      stderr.print(
        `WARNING! Your password will be stored unencrypted in ${unencrypted}.`,
        'Configure a credential helper to remove this warning. See',
        'https://docs.docker.com/engine/reference/commandline/login/#credentials-store',
        '',
      );
    context.print(Status);

    /**
     * Returns whether the stored login still works. If it does not, a user at a terminal may enter another
     * one.
     */
    async function tryKnown(known: Credentials): Promise<boolean> {
      stderr.print('Authenticating with existing credentials...');
      try {
        context.print((await registry.login(host, known, { keep: false, signal })).Status);
        return true;
      } catch (error) {
        if (!context.stdin.isTTY || signal.aborted) throw error;
        stderr.print(`Login did not succeed, error: ${(error as Error).message}`);
        return false;
      }
    }
  },
});

type ReadPassword = (context: Context) => Promise<string>;

/** Returns the source of the password; undefined where the user is asked for it. */
function passwordReader(
  { stderr }: Context,
  values: {
    username: string | undefined;
    password: string | undefined;
    'password-stdin': boolean | undefined;
  },
): ReadPassword | undefined {
  const { username, password } = values;
  if (password !== undefined) {
    stderr.print('WARNING! Using --password via the CLI is insecure. Use --password-stdin.');
    if (values['password-stdin'] === true)
      throw new UsageError('--password and --password-stdin are mutually exclusive');
    return () => Promise.resolve(password);
  }
  if (values['password-stdin'] !== true) return undefined;
  if (username === undefined || username === '')
    throw new UsageError('Must provide --username with --password-stdin');
  return readStdin;
}

/** Returns all of stdin, without the newline at its end. */
async function readStdin({ stdin }: Context): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stdin as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_PASSWORD_BYTES)
      throw new UsageError(`stdin has more than ${String(MAX_PASSWORD_BYTES)} bytes: that is not a password`);
    chunks.push(chunk);
  }
  return notEmpty(
    'password',
    Buffer.concat(chunks)
      .toString('utf8')
      .replace(/\r?\n$/, ''),
  );
}

async function askName(context: Context, host: string): Promise<string> {
  requireTerminal(context);
  if (host === 'docker.io') context.stderr.print(HUB_ADVICE);
  return notEmpty('user name', (await ask(context, 'Username: ')).trim());
}

async function askPassword(context: Context): Promise<string> {
  requireTerminal(context);
  return notEmpty('password', await ask(context, 'Password: ', { secret: true }));
}

function requireTerminal({ stdin }: Context): void {
  if (stdin.isTTY) return;
  throw new UsageError(
    'Cannot perform an interactive login from a non TTY device: give --username and --password-stdin',
  );
}

function notEmpty(what: string, text: string): string {
  if (text === '') throw new UsageError(`the ${what} is empty`);
  return text;
}
