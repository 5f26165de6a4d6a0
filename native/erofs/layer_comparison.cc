#include "erofs/layer_comparison.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>

#include "codec/sha256.h"
#include "erofs/layer_tree.h"
#include "erofs/node_comparison.h"
#include "erofs/raw_content.h"
#include "sys/dirents.h"
#include "sys/failure.h"
#include "sys/fd.h"
#include "sys/resolve.h"
#include "sys/store_entry.h"
#include "tree/assembler.h"
#include "tree/member_path.h"

namespace layerstack::erofs {

namespace {

constexpr size_t kTarPiece = 256 << 10;
// Those of layers from this machine's own file system (layer/limits.ts).
constexpr TarLimits kLimits{UINT64_MAX, PATH_MAX, 16 << 20};

// Thrown when the rest of the layer cannot change the result.
struct Decided {};

using Kind = Difference::Kind;

// Bounds the bytes that are read in a second. A pause gives no credit for a burst.
class Pace {
 public:
  using Clock = std::chrono::steady_clock;

  Pace(uint64_t rate, const std::function<void()>& going) : rate_(rate), going_(going), due_(Clock::now()) {}

  void Took(size_t size) {
    if (rate_ == 0) return;
    const std::chrono::duration<double> takes(static_cast<double>(size) / static_cast<double>(rate_));
    due_ = std::max(due_, Clock::now() - kStep) + std::chrono::duration_cast<Clock::duration>(takes);
    for (auto now = Clock::now(); now < due_; now = Clock::now()) {
      going_();
      std::this_thread::sleep_for(std::min<Clock::duration>(due_ - now, kStep));
    }
  }

 private:
  static constexpr std::chrono::milliseconds kStep{50};
  uint64_t rate_;
  const std::function<void()>& going_;
  Clock::time_point due_;
};

// The rebuilt tar, hashed while it is read.
class RebuiltTar : public ByteSource, public RawSink {
 public:
  RebuiltTar(LayerAssembler& assembler, const ComparisonSource& source, const std::function<void()>& going)
      : assembler_(assembler),
        summed_(source.contents),
        going_(going),
        pace_(source.rate, going),
        buffer_(std::make_unique<char[]>(kTarPiece)) {}

  std::string_view Next() override {
    going_();
    const size_t size = assembler_.ReadPiece(buffer_.get(), kTarPiece, &of_file_);
    if (of_file_) TakeRoom(size);
    pace_.Took(size);
    if (summed_) sum_.Update(buffer_.get(), size);
    return {buffer_.get(), size};
  }
  uint64_t Skip(uint64_t length) override {
    if (summed_) return 0;
    const uint64_t skipped = assembler_.SkipZeros(length);
    TakeRoom(skipped);
    return skipped;
  }
  void Raw(std::string_view) override {}

  // Allows files of the layer only in the content of the member. In a header, a large file of the layer could
  // make the header endless.
  void BeginMember(const TarMember& member) { room_ = member.payload; }
  // The digest is not needed: the layer is damaged.
  void StopSum() { summed_ = false; }
  // The last file of the layer that was opened.
  ino_t FileInode() const { return assembler_.FileInode(); }
  // Whether the last bytes are those of a file of the layer.
  bool OfFile() const { return of_file_; }
  std::string Digest() {
    while (!Next().empty()) continue;
    return summed_ ? sum_.HexDigest() : "";
  }

 private:
  void TakeRoom(uint64_t size) {
    if (size > room_)
      ThrowInput("ERR_STORE_CORRUPT", "the tar-split has a file where the tar has no content of a file");
    room_ -= size;
  }

  LayerAssembler& assembler_;
  bool summed_;
  const std::function<void()>& going_;
  Pace pace_;
  std::unique_ptr<char[]> buffer_;
  bool of_file_ = false;
  uint64_t room_ = 0;  // for files
  Sha256 sum_;
};

class LayerCheck {
 public:
  LayerCheck(const ComparisonSource& source, const std::function<void()>& going)
      : source_(source), going_(going), root_(OpenEntry(source.diff, O_RDONLY | O_DIRECTORY)) {}

  Comparison Run() {
    try {
      ReadTar();
      CountNames();
      CompareRoot();
      Walk();
    } catch (const Decided&) {
    }
    return std::move(result_);
  }

 private:
  // A directory on the way down, with the subdirectories still to do.
  struct Level {
    std::string path;
    std::vector<std::pair<std::string, uint32_t>> todo;
  };

  void ReadTar() {
    LayerAssembler assembler(source_.diff, source_.tar_split);
    RebuiltTar bytes(assembler, source_, going_);
    assembler.Tolerate([&](const std::string& member, const std::string& what) {
      bytes.StopSum();
      const std::string path = CleanMemberPath(member).value_or(member);
      damaged_.insert(path);
      Add(Kind::kContent, path, what);
    });
    if (!source_.contents) assembler.LeaveOutFiles();
    TarReader reader(bytes, bytes, kLimits, kLayerCodes);
    TarMember member;
    while (reader.Next(member)) {
      Node* file = tree_.Add(member);
      bytes.BeginMember(member);
      if (file != nullptr && source_.contents) ReadContent(reader, bytes, member, *file);
    }
    reader.Trailing();
    result_.digest = bytes.Digest();
    result_.proven = source_.contents && result_.digest == source_.diff_id;
    if (source_.stop_early && source_.contents && !result_.proven) throw Decided();
  }

  // Remembers contents that the assembler has not compared with a file.
  void ReadContent(TarReader& reader, const RebuiltTar& bytes, const TarMember& member, const Node& file) {
    RawContent content;
    bool raw = member.sparse.has_value();
    const uint64_t before = result_.count;
    for (std::string_view piece = reader.Payload(); !piece.empty(); piece = reader.Payload()) {
      if (result_.count > before) return;  // the bytes stand for a damaged file
      raw = raw || !bytes.OfFile();
      content.sum.Update(piece.data(), piece.size());
    }
    read_.erase(&file);
    if (!raw && member.size > 0) read_.emplace(&file, bytes.FileInode());
    if (!raw) return;
    if (member.sparse)
      content.data = *member.sparse;
    else
      content.data = {{0, static_cast<int64_t>(member.size)}};
    raw_.insert_or_assign(&file, std::move(content));
  }

  void CountNames() {
    names_.resize(tree_.Size());
    std::vector<uint32_t> todo{Tree::kRoot};
    while (!todo.empty()) {
      const uint32_t index = todo.back();
      todo.pop_back();
      for (const auto& [name, child] : *tree_.At(index).children) {
        ++names_[child];
        if (tree_.At(child).children) todo.push_back(child);
      }
    }
  }

  void CompareRoot() {
    const std::string name = ".";
    const Node& node = tree_.At(Tree::kRoot);
    if (source_.of_upper && !node.dated) return;
    struct stat info;
    if (Again<::fstat>(root_.get(), &info) != 0) ThrowErrno(errno, "fstat", source_.diff);
    CompareMetadata({root_.get(), name, info}, node, "");
  }

  void Walk() {
    std::vector<Level> levels{{"", {{"", Tree::kRoot}}}};
    while (!levels.empty()) {
      if (levels.back().todo.empty()) {
        levels.pop_back();
        continue;
      }
      auto [name, index] = std::move(levels.back().todo.back());
      levels.back().todo.pop_back();
      Level below{Join(levels.back().path, name), {}};
      CompareDirectory(index, below);
      levels.push_back(std::move(below));
    }
  }

  void CompareDirectory(uint32_t index, Level& level) {
    going_();
    UniqueFd dir = OpenBeneathNoLinks(root_.get(), level.path, O_RDONLY | O_DIRECTORY);
    if (!dir) ThrowErrno(errno, "open", level.path);
    const Node::Children& children = *tree_.At(index).children;
    std::set<std::string_view> seen;
    for (const DirectoryEntry& found : SortedEntries(dir.get(), level.path)) {
      auto child = children.find(found.name);
      struct stat info;
      if (Again<::fstatat>(dir.get(), found.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0)
        ThrowErrno(errno, "stat", Join(level.path, found.name));
      if (child != children.end()) {
        seen.insert(child->first);
        if (CompareEntry({dir.get(), found.name, info}, child->second, Join(level.path, found.name)))
          level.todo.emplace_back(found.name, child->second);
      } else if (!IsTolerated(info)) {
        Add(Kind::kTree, Join(level.path, found.name), "does not belong to the layer");
      }
    }
    for (const auto& [name, child] : children) {
      const std::string path = Join(level.path, name);
      if (seen.contains(name) || damaged_.contains(path)) continue;
      const bool whiteout = tree_.At(child).IsWhiteout();
      if (!whiteout || source_.contents)
        Add(Kind::kTree, path, whiteout ? "is a whiteout that is missing" : "is missing");
    }
  }

  // Whether an entry that no header has is not a difference.
  bool IsTolerated(const struct stat& info) const {
    if (source_.of_upper && S_ISSOCK(info.st_mode)) return true;
    return !source_.contents && S_ISCHR(info.st_mode) && info.st_rdev == 0;
  }

  // Whether the entry is a directory of the layer.
  bool CompareEntry(const LayerEntry& entry, uint32_t index, const std::string& path) {
    const Node& node = tree_.At(index);
    const std::string kind = DifferentKind(entry, node);
    if (!kind.empty()) {
      const bool content = S_ISREG(node.mode) && S_ISREG(entry.info.st_mode);
      if (!damaged_.contains(path)) Add(content ? Kind::kContent : Kind::kTree, path, kind);
      return false;
    }
    if (node.IsWhiteout()) return false;
    CompareContent(entry, node, path);
    CompareLinks(entry, index, path);
    CompareMetadata(entry, node, path);
    return node.children != nullptr;
  }

  void CompareContent(const LayerEntry& entry, const Node& node, const std::string& path) {
    auto read = read_.find(&node);
    if (read != read_.end() && read->second != entry.info.st_ino) {
      damaged_.insert(path);
      return Add(Kind::kContent, path, "is not the file that has its content in the tar-split");
    }
    auto raw = raw_.find(&node);
    if (raw == raw_.end()) return;
    UniqueFd file(
        Again<::openat>(entry.directory, entry.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!file) ThrowErrno(errno, "open", path);
    if (!HasContent(file.get(), entry.info, raw->second)) {
      damaged_.insert(path);
      Add(Kind::kContent, path, "does not have the recorded content");
    }
    raw_.erase(raw);  // its other names have the same content
  }

  // Requires that all names of a node lead to one inode, and that it has no other names.
  void CompareLinks(const LayerEntry& entry, uint32_t index, const std::string& path) {
    const bool linked = names_[index] > 1;
    if (S_ISDIR(entry.info.st_mode) || (!linked && entry.info.st_nlink == 1)) return;
    const auto [inode, first] = inodes_.try_emplace(entry.info.st_ino, index);
    if (!first && inode->second != index) {
      Add(Kind::kTree, path, "is a hard link, and should not be");
      return;
    }
    if (!linked) return;
    const auto [known, fresh] = linked_.try_emplace(index, entry.info.st_ino);
    if (!fresh && known->second != entry.info.st_ino)
      Add(Kind::kTree, path, "is a copy, and should be a hard link");
  }

  void CompareMetadata(const LayerEntry& entry, const Node& node, const std::string& path) {
    if (!source_.contents) return;
    const std::string facts = DifferentMetadata(entry, node, rules_);
    if (facts.empty() || damaged_.contains(path)) return;  // a changed file has another time too
    const bool set_metadata = source_.set_metadata && result_.proven;
    if (set_metadata) SetMetadata(entry, node, rules_);
    Add(Kind::kMetadata, path, "has " + facts, set_metadata);
  }

  static std::string Join(const std::string& directory, const std::string& name) {
    return directory.empty() ? name : directory + "/" + name;
  }

  void Add(Kind kind, const std::string& path, std::string what, bool repaired = false) {
    ++result_.count;
    if (kind == Kind::kMetadata) ++result_.metadata;
    if (kind != Kind::kMetadata && source_.stop_early) throw Decided();
    if (result_.differences.size() < kMaxDifferences)
      result_.differences.push_back({kind, path, std::move(what), repaired});
  }

  const ComparisonSource& source_;
  const MetadataRules rules_{source_.of_upper, source_.first_uid, source_.first_gid};
  const std::function<void()>& going_;
  UniqueFd root_;
  Warnings warnings_;
  LayerTree tree_{warnings_};
  std::vector<uint32_t> names_;  // of each node
  std::unordered_map<const Node*, RawContent> raw_;
  std::unordered_map<const Node*, ino_t> read_;  // the files that the assembler has compared
  std::set<std::string> damaged_;                // files with other content
  std::unordered_map<ino_t, uint32_t> inodes_;   // the node of each linked inode
  std::unordered_map<uint32_t, ino_t> linked_;   // the inode of each linked node
  Comparison result_;
};

}  // namespace

Comparison CompareLayer(const ComparisonSource& source, const std::function<void()>& going) {
  return LayerCheck(source, going).Run();
}

}  // namespace layerstack::erofs
