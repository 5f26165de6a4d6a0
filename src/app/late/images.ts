/**
 * The modules that `store.images` imports when they are first needed, so that commands that only list images
 * start quickly.
 */
export { packImages } from '../../image/pack.ts';
export { settleImage } from '../../image/settle.ts';
export { importImage } from '../../transfer/archive/import.ts';
export { load } from '../../transfer/archive/load.ts';
export { save, saveTo } from '../../transfer/archive/save.ts';
export { writeImageOfImage } from '../../transfer/archive/disk-image.ts';
