/**
 * Builds tar archives in memory with control over every header field, so that tests can write both real tars
 * and invalid ones. Layout of a block: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar "Basic Tar
 * Format"; base-256 numbers as GNU tar writes them. The defaults make a plain, valid member.
 */

export const BLOCK = 512;

/** Type flags by name. Any other single character is used as the flag itself. */
const FLAGS = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  char: '3',
  block: '4',
  directory: '5',
  fifo: '6',
  contiguous: '7',
} as const;

export type TarType = keyof typeof FLAGS;

/** Header fields that hold numbers, with their offsets. */
const NUMBERS = {
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  devmajor: [329, 8],
  devminor: [337, 8],
} as const;

type NumberField = keyof typeof NUMBERS;

/** Records in the order in which they are written. A list of pairs may repeat a key. */
export type PaxRecords =
  Readonly<Record<string, string | Uint8Array>> | readonly (readonly [string, string | Uint8Array])[];

export interface TarMember {
  /**
   * Bytes if it is not UTF-8. `format` decides whether a name that does not fit gets a PAX or a GNU header.
   */
  readonly name: string | Uint8Array;
  /** A name of {@link TarType}, or the type flag itself (`'\0'`, `'S'`, ...). Default: `file`. */
  readonly type?: TarType | (string & {});
  readonly content?: string | Uint8Array;
  readonly linkname?: string | Uint8Array;
  /** Default 0644, or 0755 for directories. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly uname?: string;
  readonly gname?: string;
  /** Seconds; negative ones are written in base 256. For fractions use `pax: { mtime: '1.5' }`. */
  readonly mtime?: number;
  readonly devmajor?: number;
  readonly devminor?: number;
  /** The size field, if it differs from the size of `content`. */
  readonly size?: number;
  /** Records of an `x` header before this member. */
  readonly pax?: PaxRecords;
  /** Written as `SCHILY.xattr.` records. */
  readonly xattrs?: Readonly<Record<string, string | Uint8Array>>;
  /** The magic, and the form of long names. Default `ustar`. */
  readonly format?: 'ustar' | 'gnu' | 'v7';
  /** Number fields to write in base 256 although octal would do. */
  readonly base256?: readonly NumberField[];
  /**
   * Bytes between the header and its content that `size` does not count (old GNU sparse extension blocks).
   */
  readonly extension?: Uint8Array;
  /** Edits the header block before its checksum is computed. */
  readonly tweak?: (header: Buffer) => void;
  /** Overrides the correct checksum. */
  readonly checksum?: number;
  /** Omits the padding after the content (a tar that ends early). */
  readonly unpadded?: boolean;
}

/** Bytes that are put into the archive unchanged. */
export interface TarRaw {
  readonly raw: Uint8Array;
}

/** A PAX global (`g`) header. */
export interface TarGlobal {
  readonly global: PaxRecords;
  readonly name?: string;
}

export type TarItem = TarMember | TarRaw | TarGlobal;

export interface TarOptions {
  /** Zero blocks at the end. Default 2. */
  readonly endBlocks?: number;
  /** Bytes after the end blocks. */
  readonly trailing?: Uint8Array;
}

/** Returns the archive of `items`, in their order. */
export function tar(items: readonly TarItem[], options: TarOptions = {}): Buffer {
  const { endBlocks = 2, trailing = Buffer.alloc(0) } = options;
  return Buffer.concat([...items.map(itemBytes), Buffer.alloc(endBlocks * BLOCK), trailing]);
}

/** Returns the payload of a PAX header: records `LENGTH KEY=VALUE\n`. LENGTH counts itself too. */
export function paxRecords(records: PaxRecords): Buffer {
  const pairs = Array.isArray(records)
    ? (records as readonly (readonly [string, string | Uint8Array])[])
    : Object.entries(records);
  return Buffer.concat(
    pairs.map(([key, value]) => {
      const rest = Buffer.concat([Buffer.from(` ${key}=`), bytes(value), Buffer.from('\n')]);
      let length = rest.length;
      while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
      return Buffer.concat([Buffer.from(String(length)), rest]);
    }),
  );
}

/** Returns the zero bytes that pad `length` to whole blocks. */
export function padding(length: number): Buffer {
  return Buffer.alloc((BLOCK - (length % BLOCK)) % BLOCK);
}

function itemBytes(item: TarItem): Buffer {
  if ('raw' in item) return Buffer.from(item.raw);
  if ('global' in item)
    return helperMember('g', item.name ?? 'pax_global_header', paxRecords(item.global), 'ustar');
  return memberBytes(item);
}

function memberBytes(member: TarMember): Buffer {
  const flag = typeFlag(member.type ?? 'file');
  const format = member.format ?? 'ustar';
  const content = bytes(member.content ?? '');
  const name = fitName(bytes(member.name), format);
  const link = bytes(member.linkname ?? '');
  const longLink = link.length > 100;

  const pax: [string, string | Uint8Array][] = [];
  const before: Buffer[] = [];
  if (format === 'gnu') {
    if (longLink) before.push(longHeader('K', link));
    if (name.long) before.push(longHeader('L', bytes(member.name)));
  } else {
    if (name.long) pax.push(['path', bytes(member.name)]);
    if (longLink) pax.push(['linkpath', link]);
  }
  for (const [key, value] of Object.entries(member.xattrs ?? {})) pax.push([`SCHILY.xattr.${key}`, value]);
  if (member.pax) {
    const given = Array.isArray(member.pax) ? member.pax : Object.entries(member.pax);
    pax.push(...(given as [string, string | Uint8Array][]));
  }
  if (pax.length > 0) {
    const short = name.base.subarray(0, 80).toString('latin1').replace(/\/$/, '');
    before.push(helperMember('x', Buffer.from(`PaxHeaders.0/${short}`, 'latin1'), paxRecords(pax), 'ustar'));
  }

  const header = Buffer.alloc(BLOCK);
  name.base.copy(header, 0, 0, 100);
  name.prefix.copy(header, 345);
  link.copy(header, 157, 0, 100);
  header.write(flag, 156, 'latin1');
  if (format === 'ustar') header.write('ustar\x0000', 257, 'latin1');
  if (format === 'gnu') header.write('ustar  \0', 257, 'latin1');
  if (format !== 'v7') {
    header.write(member.uname ?? '', 265, 31);
    header.write(member.gname ?? '', 297, 31);
  }
  const numbers: Record<NumberField, number> = {
    mode: member.mode ?? (flag === '5' ? 0o755 : 0o644),
    uid: member.uid ?? 0,
    gid: member.gid ?? 0,
    size: member.size ?? content.length,
    mtime: member.mtime ?? 1_600_000_000,
    devmajor: member.devmajor ?? 0,
    devminor: member.devminor ?? 0,
  };
  for (const [field, value] of Object.entries(numbers) as [NumberField, number][]) {
    if (format === 'v7' && field.startsWith('dev')) continue;
    putNumber(header, field, value, member.base256?.includes(field) ?? false);
  }
  member.tweak?.(header);
  seal(header, member.checksum);
  const tail = member.unpadded ? Buffer.alloc(0) : padding(content.length);
  return Buffer.concat([...before, header, member.extension ?? Buffer.alloc(0), content, tail]);
}

/** Returns a header that describes the next member: PAX `x` and `g`, GNU `L` and `K`. */
function helperMember(
  flag: string,
  name: string | Uint8Array,
  payload: Buffer,
  format: 'ustar' | 'gnu',
): Buffer {
  return memberBytes({ name, type: flag, content: payload, mode: 0o644, mtime: 0, format });
}

function longHeader(flag: 'K' | 'L', text: Buffer): Buffer {
  return helperMember(flag, '././@LongLink', Buffer.concat([text, Buffer.alloc(1)]), 'gnu');
}

/** Splits a name into the ustar fields, or reports that it is too `long` for them. */
function fitName(
  name: Buffer,
  format: 'ustar' | 'gnu' | 'v7',
): { base: Buffer; prefix: Buffer; long: boolean } {
  const none = Buffer.alloc(0);
  if (name.length <= 100) return { base: name, prefix: none, long: false };
  if (format === 'ustar') {
    for (let at = name.indexOf('/'); at !== -1 && at <= 155; at = name.indexOf('/', at + 1)) {
      const base = name.subarray(at + 1);
      if (at > 0 && base.length > 0 && base.length <= 100)
        return { base, prefix: name.subarray(0, at), long: false };
    }
  }
  if (format === 'v7') throw new Error(`a v7 tar has no room for the name ${name.toString()}`);
  return { base: name.subarray(0, 100), prefix: none, long: true };
}

function putNumber(header: Buffer, field: NumberField, value: number, base256: boolean): void {
  const [offset, length] = NUMBERS[field];
  const octal = Math.trunc(value).toString(8);
  if (!base256 && value >= 0 && octal.length < length) {
    header.write(octal.padStart(length - 1, '0'), offset, 'latin1');
    return;
  }
  let rest = BigInt(Math.trunc(value));
  for (let at = offset + length - 1; at >= offset; at--) {
    header[at] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  header[offset] = value < 0 ? 0xff : 0x80;
}

function seal(header: Buffer, checksum?: number): void {
  header.fill(0x20, 148, 156);
  const sum = checksum ?? header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

function typeFlag(type: string): string {
  return Object.hasOwn(FLAGS, type) ? FLAGS[type as TarType] : type;
}

function bytes(value: string | Uint8Array): Buffer {
  return typeof value === 'string' ? Buffer.from(value) : Buffer.from(value);
}
