/**
 * The rows of the table. Each job is measured with layerstack, with dockerd and podman, and with the floor:
 * its least cost on this machine. A row is a function of the input and the number of runs, so a new job is a
 * new function here.
 */
import { exportTree, save } from './rows/archives.js';
import { commit, diff } from './rows/changes.js';
import { containers } from './rows/containers.js';
import { images } from './rows/images.js';
import { load, loadGzip } from './rows/load.js';
import { firstUse } from './rows/first-use.js';
import { inPlace, loadPacked, loadPackedGzip, rmiPacked } from './rows/packed.js';
import { pull } from './rows/pull.js';
import { push } from './rows/push.js';
import { rmi } from './rows/rmi.js';

/** Every job in the order of the table, by its name for `--rows`. */
export const ROWS = {
  load,
  loadGzip,
  pull,
  push,
  containers,
  diff,
  commit,
  save,
  export: exportTree,
  rmi,
  images,
  inPlace,
  loadPacked,
  loadPackedGzip,
  rmiPacked,
  firstUse,
};
