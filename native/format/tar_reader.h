// Reads the members of a tar from a stream of chunks. All bytes except the payloads of members go, in order,
// to a RawSink: tar-split keeps these bytes. The rules are those of Go's archive/tar in tar-split 0.11: a
// member's x, L and K blocks belong to its header; a global PAX header is a member of its own, whose records
// apply to nothing, as in dockerd; links and directories have no payload, even if their size field says
// otherwise.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/pax.h"
#include "format/tar_header.h"
#include "format/tar_sparse.h"

namespace layerstack {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // The next bytes, valid until the next call; empty at the end.
  virtual std::string_view Next() = 0;
  // Skips up to `length` of the bytes that Next would return. Returns how many.
  virtual uint64_t Skip(uint64_t) { return 0; }
  // Throws if the source was aborted, also after the last byte.
  virtual void Check() {}
};

class RawSink {
 public:
  virtual ~RawSink() = default;
  virtual void Raw(std::string_view bytes) = 0;
};

// For readers that do not write a tar-split.
class NoRaw : public RawSink {
 public:
  void Raw(std::string_view) override {}
};

struct TarMember {
  char type = '0';  // as in the header, but NUL has become '0' or '5'
  std::string name;
  std::string linkname;
  int64_t mode = 0;
  int64_t uid = 0;
  int64_t gid = 0;
  TarTime mtime;
  std::optional<TarTime> atime;
  int64_t device_major = 0;
  int64_t device_minor = 0;
  uint64_t size = 0;     // the file's, holes included
  uint64_t payload = 0;  // bytes in the stream, after a sparse map in front of the data
  std::vector<std::pair<std::string, std::string>> xattrs;
  std::optional<SparseMap> sparse;
};

struct TarLimits {
  uint64_t max_members = UINT64_MAX;
  uint64_t max_path_bytes = UINT64_MAX;
  uint64_t max_pax_bytes = UINT64_MAX;  // of one member; sparse maps too
};

// The codes of errors: a layer and an outer archive have their own.
struct TarErrorCodes {
  const char* invalid;
  const char* truncated;
};
inline constexpr TarErrorCodes kLayerCodes{"ERR_LAYER_INVALID", "ERR_LAYER_TRUNCATED"};
inline constexpr TarErrorCodes kArchiveCodes{"ERR_ARCHIVE_INVALID", "ERR_ARCHIVE_TRUNCATED"};

class TarReader {
 public:
  TarReader(ByteSource& source, RawSink& raw, const TarLimits& limits, const TarErrorCodes& codes);

  // False at the end of the archive. Skips the rest of the last payload, which goes nowhere.
  bool Next(TarMember& member);
  // The next bytes (at most `room`) of the current member's payload, valid until the next call. Empty at its
  // end.
  std::string_view Payload(uint64_t room = UINT64_MAX);
  // Call it when Next has returned false: all bytes after the end blocks go to the sink.
  void Trailing();

  // Bytes of the stream consumed so far. Right after Next, the payload starts there.
  uint64_t Position() const { return position_; }
  uint64_t Members() const { return members_; }

 private:
  bool Fill();
  size_t ReadUpTo(char* buffer, size_t length);
  void SkipPayload();
  bool ReadHeader(TarHeader& header);
  std::string ReadSpecial(const TarHeader& header);
  void Merge(const PaxRecords& pax, TarHeader& header, TarMember& member);
  void SetPayload(const TarHeader& header);
  void ReadSparse(const PaxRecords& pax, TarHeader& header, TarMember& member);
  SparseMap ReadOldGnuMap(TarHeader& header);
  SparseMap ReadPaxMap();
  // `name`: the member's, or that of what it links to.
  void CheckName(const std::string& name, const std::string& member) const;
  [[noreturn]] void Invalid(const std::string& what) const;
  [[noreturn]] void Truncated(const std::string& where) const;

  ByteSource& source_;
  RawSink& raw_;
  TarLimits limits_;
  TarErrorCodes codes_;
  std::string_view chunk_;
  bool ended_ = false;
  char block_[kTarBlock];
  uint64_t payload_left_ = 0;
  size_t padding_ = 0;
  uint64_t position_ = 0;
  uint64_t members_ = 0;
  std::string current_;  // the last member's name, for messages
  std::string subject_;  // the name in the current header
};

}  // namespace layerstack
