#include "erofs/index.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "codec/sha256.h"
#include "erofs/format.h"
#include "erofs/layer_tree.h"
#include "sys/failure.h"
#include "sys/thread_pool.h"
#include "tree/member_fault.h"
#include "tree/size_bound.h"

namespace layerstack::erofs {

namespace {

constexpr unsigned kIndexBlockBits = 9;  // a tar's payloads are aligned to 512 bytes
constexpr size_t kHashedPiece = 256 << 10;
constexpr size_t kSkimmedPiece = 32 << 10;  // headers only: most often the next header follows

// Reads a range of a file, and hashes or skips its contents.
class RangeSource : public ByteSource {
 public:
  RangeSource(int fd, const IndexLayer& layer, bool hashed, const std::function<void()>& going)
      : fd_(fd),
        offset_(layer.offset),
        left_(layer.size),
        hashed_(hashed),
        piece_(hashed ? kHashedPiece : kSkimmedPiece),
        buffer_(std::make_unique<char[]>(piece_)),
        going_(going) {}

  std::string_view Next() override {
    going_();
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(left_, piece_));
    if (wanted == 0) return {};
    const ssize_t length = Again<::pread>(fd_, buffer_.get(), wanted, static_cast<off_t>(offset_));
    if (length < 0) ThrowErrno(errno, "pread");
    if (length == 0)
      ThrowInput("ERR_LAYER_TRUNCATED",
                 "the file ends " + std::to_string(left_) + " bytes before the layer does");
    offset_ += static_cast<uint64_t>(length);
    left_ -= static_cast<uint64_t>(length);
    if (hashed_) sum_.Update(buffer_.get(), static_cast<size_t>(length));
    return {buffer_.get(), static_cast<size_t>(length)};
  }

  uint64_t Skip(uint64_t length) override {
    if (hashed_) return 0;
    const uint64_t skipped = std::min(length, left_);
    offset_ += skipped;
    left_ -= skipped;
    return skipped;
  }

  std::string Digest() { return hashed_ ? sum_.HexDigest() : ""; }

 private:
  int fd_;
  uint64_t offset_;
  uint64_t left_;
  bool hashed_;
  size_t piece_;
  std::unique_ptr<char[]> buffer_;
  const std::function<void()>& going_;
  Sha256 sum_;
};

// Returns whether the file ends within the last block of a payload, as a tar without padding does. The kernel
// reads whole blocks.
bool IsCutShort(const Device& device, uint64_t end) {
  return RoundUp(end, uint64_t{1} << kIndexBlockBits) > device.size;
}

// A layer that is being read.
struct ReadLayer {
  Warnings warnings;
  LayerTree tree{warnings};
  std::string diff_id;
};

void Read(const IndexSource& source, const IndexLayer& layer, Writer& writer, ReadLayer& result,
          std::atomic<uint64_t>& members, const std::function<void()>& going) {
  const Device& device = source.devices.at(layer.device - 1U);
  RangeSource bytes(device.fd, layer, source.hashed, going);
  NoRaw raw;
  TarReader reader(bytes, raw, source.limits, kLayerCodes);
  SizeBound bound(source.max_bytes);
  TarMember member;
  while (reader.Next(member)) {
    if (++members > source.limits.max_members)
      ThrowInput("ERR_LIMIT_EXCEEDED", "the layers have more than " +
                                           std::to_string(source.limits.max_members) + " members together");
    try {
      bound.Take(member, reader.Position());
      Node* file = result.tree.Add(member);
      if (file == nullptr || file->size == 0) continue;
      const uint64_t at = layer.offset + reader.Position();
      if (member.sparse) {
        file->sparse = std::make_unique<SparseSource>(SparseSource{at, *member.sparse});
      } else if (IsCutShort(device, at + member.size)) {
        file->sparse =
            std::make_unique<SparseSource>(SparseSource{at, {{0, static_cast<int64_t>(member.size)}}});
      } else {
        writer.Refer(*file, at);
      }
      file->device = layer.device;
    } catch (Failure& failure) {
      JudgeMember(failure, member.name, kLayerCodes.invalid, device.fd);
      throw;
    }
  }
  reader.Trailing();
  result.diff_id = bytes.Digest();
}

// Runs `job` for each number below `count`, on one thread for each core. After a failure it begins no further
// jobs, and throws the error of the lowest failed number.
void ForEach(size_t count, const std::function<void(size_t)>& job) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  std::vector<std::optional<Failure>> failures(count);
  auto work = [&] {
    for (size_t i; !failed && (i = next++) < count;) {
      failures[i] = Catch([&] { job(i); });
      if (failures[i]) failed = true;
    }
  };
  std::vector<std::thread> threads;
  const size_t wanted = std::min(count, static_cast<size_t>(Cores()));
  while (threads.size() + 1 < wanted) {
    try {
      threads.emplace_back(work);
    } catch (const std::system_error&) {
      break;  // the threads that were started do the work
    }
  }
  work();
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < count; ++i) {
    if (!failures[i]) continue;
    failures[i]->facts.emplace_back("layer", std::to_string(i));
    throw *failures[i];
  }
}

}  // namespace

Indexed WriteIndex(const IndexSource& source, int fd, const std::function<void()>& going) {
  Writer writer(fd, kIndexBlockBits, source.devices);
  std::vector<std::unique_ptr<ReadLayer>> layers;
  // The trees of all layers are in memory at once.
  std::atomic<uint64_t> members = 0;
  for (size_t i = 0; i < source.layers.size(); ++i) layers.push_back(std::make_unique<ReadLayer>());
  ForEach(layers.size(),
          [&](size_t i) { Read(source, source.layers[i], writer, *layers[i], members, going); });

  Indexed result;
  Warnings none;
  LayerTree empty(none);
  LayerTree& tree = layers.empty() ? empty : layers.front()->tree;
  if (source.whole) tree.Resolve();
  for (size_t i = 1; i < layers.size(); ++i) tree.PutOver(std::move(layers[i]->tree));
  writer.Finish(tree, 0);
  for (const std::unique_ptr<ReadLayer>& layer : layers) {
    result.diff_ids.push_back(layer->diff_id);
    result.warnings.Append(layer->warnings);
  }
  return result;
}

}  // namespace layerstack::erofs
