/** zstd without a compressor: a frame of stored blocks (RFC 8878), which every decoder must accept. */
export function zstdStored(data: Uint8Array): Buffer {
  const parts = [Buffer.from('28b52ffd0050', 'hex')]; // no content size, no checksum, a window of 1 MiB
  for (let at = 0; ; at += 100_000) {
    const block = data.subarray(at, at + 100_000);
    const last = at + block.length === data.length;
    const header = Buffer.alloc(3);
    header.writeUIntLE((block.length << 3) | (last ? 1 : 0), 0, 3);
    parts.push(header, Buffer.from(block));
    if (last) return Buffer.concat(parts);
  }
}
