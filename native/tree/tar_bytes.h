// The bytes of a layer's tar, from wherever the store has them.
#pragma once

#include <cstddef>
#include <string>

#include "sys/fd.h"

namespace layerstack {

class TarBytes {
 public:
  virtual ~TarBytes() = default;
  // Fills `buffer` with the next bytes of the tar. 0 is its end. The caller checks the DiffID.
  virtual size_t Read(char* buffer, size_t room) = 0;
};

// A tar that the store has as a file.
class StoredTar : public TarBytes {
 public:
  // `path` is absolute, and has no links in it. Throws the errno if it cannot be opened.
  explicit StoredTar(const std::string& path);
  size_t Read(char* buffer, size_t room) override;

 private:
  UniqueFd file_;
};

}  // namespace layerstack
