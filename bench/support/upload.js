/**
 * node upload.js SOCKET ARCHIVE COUNT: posts the archive to /images/load COUNT times at once; ends when all
 * are answered.
 */
import { createReadStream, statSync } from 'node:fs';
import { request } from 'node:http';
import { pipeline } from 'node:stream/promises';

const [socketPath, archive, count] = process.argv.slice(2);

async function load() {
  const sent = request({
    socketPath,
    method: 'POST',
    path: '/images/load?quiet=1',
    headers: { 'Content-Type': 'application/x-tar', 'Content-Length': statSync(archive).size },
  });
  const answered = new Promise((resolve, reject) => {
    sent.once('error', reject);
    sent.once('response', (answer) => {
      let text = '';
      answer.on('data', (chunk) => (text += chunk));
      answer.once('end', () => resolve({ status: answer.statusCode, text }));
    });
  });
  await pipeline(createReadStream(archive, { highWaterMark: 256 << 10 }), sent);
  const { status, text } = await answered;
  if (status !== 200 || !text.includes('Loaded image')) throw new Error(`load: ${status} ${text}`);
}

await Promise.all(Array.from({ length: Number(count) }, load));
