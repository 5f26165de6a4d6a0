// The tar reader. Its members do not depend on how the bytes are cut, nor on whether their content is read.
// Raw bytes and content together are the tar, byte for byte.
#include "fuzz.h"

using namespace layerstack;
using namespace layerstack::fuzz;

namespace {

struct Reading : RawSink {
  void Raw(std::string_view piece) override { bytes += piece; }

  std::string bytes;    // raw ones and content, in order
  std::string members;  // all that the reader says about them
  std::string fault;
};

std::string Describe(const TarMember& member) {
  std::string text(1, member.type);
  for (const std::string& part : {member.name, member.linkname}) text += part + '\0';
  for (int64_t number : {member.mode, member.uid, member.gid, member.mtime.seconds, member.mtime.nanoseconds,
                         member.device_major, member.device_minor, static_cast<int64_t>(member.size),
                         static_cast<int64_t>(member.payload)})
    text += std::to_string(number) + ' ';
  for (const std::optional<TarTime>& at : {std::optional(member.mtime), member.atime})
    PROVE(!at || (at->nanoseconds >= 0 && at->nanoseconds < 1'000'000'000));
  for (const auto& [name, value] : member.xattrs) text += name + '=' + value + '\0';
  if (member.sparse) {
    PROVE(ValidSparseMap(*member.sparse, static_cast<int64_t>(member.size), member.payload));
    for (const auto& [offset, length] : *member.sparse)
      text += std::to_string(offset) + '+' + std::to_string(length) + ' ';
  }
  return text + '\n';
}

Reading Read(std::string_view tar, size_t most, bool with_content) {
  Reading reading;
  PiecesSource source(tar, most);
  TarReader reader(source, reading, kLimits, kLayerCodes);
  reading.fault = Fault([&] {
    TarMember member;
    while (reader.Next(member)) {
      reading.members += Describe(member);
      if (!with_content) continue;
      for (std::string_view piece; !(piece = reader.Payload(most)).empty();) reading.bytes += piece;
    }
    reader.Trailing();
    PROVE(reader.Position() == tar.size());
  });
  PROVE(reader.Members() <= kLimits.max_members + 1);
  return reading;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view tar = Text(data, size);
  Reading whole = Read(tar, size + 1, true);
  Reading pieces = Read(tar, 700, true);
  Reading skipped = Read(tar, 700, false);
  PROVE(whole.fault.empty() || IsOfInput(whole.fault));
  PROVE(tar.starts_with(whole.bytes));
  if (whole.fault.empty()) PROVE(whole.bytes == tar);
  PROVE(pieces.bytes == whole.bytes);
  for (const Reading& other : {pieces, skipped}) {
    PROVE(other.members == whole.members);
    PROVE(other.fault == whole.fault);
  }
  return 0;
}
