/** Recognises formats by their first bytes. */

const BLOCK = 512;

/**
 * Returns whether a tar can begin with this block: its header checksum matches (ustar, GNU and v7 without
 * magic alike), or it is all zeros, which is the end of an empty tar.
 */
export function isTarBlock(head: Uint8Array): boolean {
  if (head.length < BLOCK) return false;
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 0x20 : Number(head[i]);
  const field = Buffer.from(head.subarray(148, 156)).toString('latin1');
  return sum === 8 * 0x20
    ? field === '\0'.repeat(8)
    : Number.parseInt(field.replaceAll(/[\0 ]/g, ''), 8) === sum;
}

/** Returns whether a JSON object or array can begin with these bytes. */
export function isJsonStart(head: Uint8Array): boolean {
  return /^[\t\n\r ]*[[{]/.test(Buffer.from(head).toString('latin1'));
}

const MAGICS: readonly (readonly [string, string])[] = [
  ['PK\x03\x04', 'a zip archive'],
  ['\x7fELF', 'a program (ELF)'],
  ['hsqs', 'a squashfs image'],
  ['QFI\xfb', 'a qcow2 disk image'],
  ['7z\xbc\xaf', 'a 7z archive'],
  ['!<arch>', 'an ar archive'],
  ['070701', 'a cpio archive'],
];

/** Describes a file that is not a tar. */
export function describeStart(head: Uint8Array): string {
  const text = Buffer.from(head.subarray(0, 16)).toString('latin1');
  const known = MAGICS.find(([magic]) => text.startsWith(magic));
  if (known) return known[1];
  if (head.length === 0) return 'empty';
  if (isJsonStart(head)) return 'a JSON document';
  return /^[\t\n\r\x20-\x7e]*$/.test(text)
    ? `text that begins with ${JSON.stringify(text)}`
    : 'a file of unknown format';
}
