// Applies one uncompressed layer tar to an empty directory and writes its tar-split, in one pass over the
// bytes.
//
// A member gets a file entry in the tar-split only if its bytes will be found again at its own name. The
// tar-split carries all other payload as raw bytes, so that the tar can always be rebuilt: that of sparse
// members, of members that are not files, of names that lead through a link, and of names that an earlier
// member has.
#pragma once

#include <cstdint>
#include <string>

#include "format/tar_reader.h"
#include "format/tar_split_writer.h"
#include "tree/clones.h"
#include "tree/name_set.h"
#include "tree/size_bound.h"
#include "tree/tree_writer.h"
#include "tree/warnings.h"

namespace layerstack {

struct ExtractedLayer {
  uint64_t entries = 0;
  uint64_t content_size = 0;
  uint64_t hole_bytes = 0;  // of sparse members; the tar does not contain them
  Warnings warnings;
};

class LayerExtractor : private RawSink {
 public:
  // `diff`: an existing empty directory. `tar_split`: the file to create. Both absolute. `clones`: files that
  // need no writing, or null.
  LayerExtractor(const std::string& diff, const std::string& tar_split, const TarLimits& limits,
                 uint64_t max_bytes, ByteSource& source, Clones* clones = nullptr);

  // Reads the source to its end. Call it once, on a thread that has called IsolateThread. A Failure has the
  // fact `member` if a member is at fault. It leaves the directory unfinished.
  ExtractedLayer Run();

 private:
  void Raw(std::string_view bytes) override;
  void Apply(const TarMember& member);
  void ApplyAt(const TarMember& member, const std::string& path);
  void RegularFile(const TarMember& member, const std::string& path);
  void WriteSparse(const TarMember& member, int fd);
  // Carries the payload as raw bytes in the tar-split.
  void CarryPayload();
  // Records the payload as a file entry of the tar-split, and gives each piece of it to `use`.
  template <typename Use>
  void RecordPayload(const TarMember& member, Use use);

  std::string tar_split_path_;
  Clones* clones_;
  UniqueFd tar_split_fd_;
  TarSplitWriter tar_split_;
  ByteSource& source_;
  TarReader reader_;
  SizeBound bound_;
  ExtractedLayer result_;
  TreeWriter tree_;
  NameSet names_;
  bool fresh_name_ = true;  // no earlier member has the current member's name
};

}  // namespace layerstack
