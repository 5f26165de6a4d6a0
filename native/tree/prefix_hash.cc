#include "tree/prefix_hash.h"

#include <sys/random.h>

#include "sys/failure.h"

namespace layerstack {

PrefixKey::PrefixKey() {
  if (Again<::getrandom>(points_, sizeof points_, 0) != sizeof points_) ThrowErrno(errno, "getrandom");
  for (uint64_t& point : points_) point = PrefixHash::Modulo(point);
}

}  // namespace layerstack
