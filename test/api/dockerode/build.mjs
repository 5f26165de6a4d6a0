// Builds with unchanged dockerode, and prints the messages of the build as JSON. Arguments: the service's
// socket; a directory with a Dockerfile; the names of the other files in it.
import console from 'node:console';
import process from 'node:process';
import Docker from 'dockerode';

const [socketPath, context, ...files] = process.argv.slice(2);
const docker = new Docker({ socketPath });
const stream = await docker.buildImage(
  { context, src: ['Dockerfile', ...files] },
  { t: 'dockerode:1', buildargs: { V: 'from dockerode' }, labels: { by: 'dockerode' } },
);
const messages = await new Promise((resolve, reject) => {
  docker.modem.followProgress(stream, (error, events) => (error ? reject(error) : resolve(events)));
});
const { Id, Config } = await docker.getImage('dockerode:1').inspect();
console.log(JSON.stringify({ messages, id: Id, labels: Config.Labels }));
