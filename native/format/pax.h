// The records of a PAX extended header ("LENGTH KEY=VALUE\n" each), parsed strictly.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/tar_header.h"

namespace layerstack {

class PaxRecords {
 public:
  // Nothing if any record is malformed. The last value of a repeated key counts. The pairs of sparse format
  // 0.0 (GNU.sparse.offset, GNU.sparse.numbytes) become one GNU.sparse.map, as in format 0.1.
  static std::optional<PaxRecords> Parse(std::string_view data);

  // The value, or "" if there is none: an empty value means "as in the header" (POSIX).
  const std::string& Get(std::string_view key) const;
  const std::vector<std::pair<std::string, std::string>>& All() const { return records_; }

 private:
  std::vector<std::pair<std::string, std::string>> records_;
};

// "SECONDS[.FRACTION]", rounded towards the past to nanoseconds; negative times too.
std::optional<TarTime> ParsePaxTime(std::string_view text);

}  // namespace layerstack
