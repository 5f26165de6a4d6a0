// Changes an input as libFuzzer does, and then most often gives its headers valid checksums. Otherwise few
// inputs would get beyond the first header.
#include <cstring>

#include "format/tar_header.h"
#include "fuzz.h"
#include "tar_support.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

// Inserts, removes or repeats whole blocks, which byte-wise changes never do.
size_t ChangeBlocks(char* data, size_t size, size_t max_size, Random& random) {
  size_t blocks = size / kTarBlock;
  if (blocks == 0) return size;
  char* at = data + Below(random, blocks) * kTarBlock;
  size_t behind = size - static_cast<size_t>(at - data);
  if (Below(random, 2) == 0 || size + kTarBlock > max_size) {
    std::memmove(at, at + kTarBlock, behind - kTarBlock);
    return size - kTarBlock;
  }
  std::string block(data + Below(random, blocks) * kTarBlock, kTarBlock);
  std::memmove(at + kTarBlock, at, behind);
  std::memcpy(at, block.data(), kTarBlock);
  return size + kTarBlock;
}

// Walks the headers as a reader does.
void SealHeaders(char* data, size_t size) {
  for (size_t at = 0; at + kTarBlock <= size;) {
    if (!IsZeroBlock(data + at)) Seal(data + at);
    std::optional<TarHeader> header = ParseTarHeader(data + at);
    bool has_content = header && (header->type < '1' || header->type > '6');
    at += kTarBlock;
    if (!has_content || header->size <= 0 || static_cast<uint64_t>(header->size) > size) continue;
    at += (static_cast<size_t>(header->size) + kTarBlock - 1) / kTarBlock * kTarBlock;
  }
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  Random random(seed);
  char* bytes = reinterpret_cast<char*>(data);
  size = Below(random, 4) == 0 ? ChangeBlocks(bytes, size, max_size, random)
                               : LLVMFuzzerMutate(data, size, max_size);
  if (Below(random, 16) != 0) SealHeaders(bytes, size);
  return size;
}
