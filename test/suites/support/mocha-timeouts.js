/**
 * For mocha's `--require`: no test has more than TIMEOUT_MS. Tests of dockerode whose promise is rejected never say that they are done,
 * and would wait for as long as they have given themselves, up to two minutes each.
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
