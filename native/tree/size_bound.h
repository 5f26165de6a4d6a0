// Bounds the size of what a tar becomes: it counts the bytes of the tar, and holes of sparse files as the
// zeros that they stand for. Without it a tar of some kilobytes could make files of many terabytes.
#pragma once

#include <cstdint>
#include <string>

#include "format/tar_reader.h"
#include "sys/failure.h"

namespace layerstack {

class SizeBound {
 public:
  explicit SizeBound(uint64_t most) : most_(most) {}

  // `position`: where the member's payload begins in the tar. Throws ERR_LIMIT_EXCEEDED with `limit` and
  // `member`.
  void Take(const TarMember& member, uint64_t position) {
    uint64_t holes = member.sparse ? member.size - member.payload : 0;
    uint64_t bytes = position + member.payload;
    if (bytes <= most_ && holes <= most_ - bytes && holes_ <= most_ - bytes - holes) {
      holes_ += holes;
      return;
    }
    ThrowInput("ERR_LIMIT_EXCEEDED",
               "with '" + member.name + "' of " + std::to_string(member.size) +
                   " bytes the tar has more than the " + std::to_string(most_) +
                   " bytes that are allowed, holes of sparse files included; if you trust it, " +
                   "allow more with maxBytes (--max-bytes)",
               {{"limit", std::to_string(most_)}, {"member", member.name}});
  }
  uint64_t Holes() const { return holes_; }

 private:
  uint64_t most_;
  uint64_t holes_ = 0;
};

}  // namespace layerstack
