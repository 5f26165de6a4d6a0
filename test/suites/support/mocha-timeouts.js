/**
 * For mocha's `--require`: limits each test to TIMEOUT_MS. A test of dockerode whose promise is rejected
 * never ends, and would wait for its own timeout, up to two minutes.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';

const Runnable = createRequire(join(process.cwd(), 'package.json'))('mocha/lib/runnable.js');
const { timeout } = Runnable.prototype;
const limit = Number(process.env.TIMEOUT_MS);

Runnable.prototype.timeout = function (...given) {
  return timeout.apply(
    this,
    given.map((ms) => Math.min(ms, limit)),
  );
};
