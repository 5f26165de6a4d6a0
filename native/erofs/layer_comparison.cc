#include "erofs/layer_comparison.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <memory>
#include <set>
#include <string_view>
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

using Kind = Difference::Kind;

// The rebuilt tar, summed while it is read.
class RebuiltTar : public ByteSource, public RawSink {
 public:
  RebuiltTar(LayerAssembler& assembler, const std::function<void()>& going)
      : assembler_(assembler), going_(going), buffer_(std::make_unique<char[]>(kTarPiece)) {}

  std::string_view Next() override {
    going_();
    const size_t size = assembler_.ReadPiece(buffer_.get(), kTarPiece, &of_file_);
    sum_.Update(buffer_.get(), size);
    return {buffer_.get(), size};
  }
  void Raw(std::string_view) override {}

  // Whether the last bytes are those of a file of the layer.
  bool OfFile() const { return of_file_; }
  std::string Digest() {
    while (!Next().empty()) continue;
    return sum_.HexDigest();
  }

 private:
  LayerAssembler& assembler_;
  const std::function<void()>& going_;
  std::unique_ptr<char[]> buffer_;
  bool of_file_ = false;
  Sha256 sum_;
};

class LayerCheck {
 public:
  LayerCheck(const ComparisonSource& source, const std::function<void()>& going)
      : source_(source), going_(going), root_(OpenEntry(source.diff, O_RDONLY | O_DIRECTORY)) {}

  Comparison Run() {
    ReadTar();
    CountNames();
    CompareRoot();
    Walk();
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
    assembler.Tolerate([this](const std::string& member, const std::string& what) {
      const std::string path = CleanMemberPath(member).value_or(member);
      damaged_.insert(path);
      Add(Kind::kContent, path, what);
    });
    RebuiltTar bytes(assembler, going_);
    TarReader reader(bytes, bytes, TarLimits{}, kLayerCodes);
    TarMember member;
    while (reader.Next(member)) {
      Node* file = tree_.Add(member);
      if (file != nullptr) ReadContent(reader, bytes, member, *file);
    }
    reader.Trailing();
    result_.digest = bytes.Digest();
    result_.proven = result_.digest == source_.diff_id;
  }

  // Remembers contents that the assembler has not compared with a file.
  void ReadContent(TarReader& reader, const RebuiltTar& bytes, const TarMember& member, const Node& file) {
    RawContent content;
    bool raw = member.sparse.has_value();
    for (std::string_view piece = reader.Payload(); !piece.empty(); piece = reader.Payload()) {
      raw = raw || !bytes.OfFile();
      content.sum.Update(piece.data(), piece.size());
    }
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
      } else if (!source_.of_upper || !S_ISSOCK(info.st_mode)) {
        Add(Kind::kTree, Join(level.path, found.name), "is not of the layer");
      }
    }
    for (const auto& [name, child] : children) {
      const std::string path = Join(level.path, name);
      if (!seen.contains(name) && !damaged_.contains(path))
        Add(Kind::kTree, path, tree_.At(child).IsWhiteout() ? "is a whiteout that is missing" : "is missing");
    }
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
    auto raw = raw_.find(&node);
    if (raw == raw_.end()) return;
    UniqueFd file(
        Again<::openat>(entry.directory, entry.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!file) ThrowErrno(errno, "open", path);
    if (!HasContent(file.get(), entry.info, raw->second)) {
      damaged_.insert(path);
      Add(Kind::kContent, path, "has other content than recorded");
    }
    raw_.erase(raw);  // its other names have the same
  }

  // All names of a node are one inode, which has no other names.
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
      Add(Kind::kTree, path, "is a copy of a file that it should be a hard link of");
  }

  void CompareMetadata(const LayerEntry& entry, const Node& node, const std::string& path) {
    const std::string facts = DifferentMetadata(entry, node, source_.of_upper);
    if (facts.empty() || damaged_.contains(path)) return;  // a changed file has another time, too
    const bool mend = source_.mend && result_.proven;
    if (mend) SetMetadata(entry, node);
    Add(Kind::kMetadata, path, "has " + facts, mend);
  }

  static std::string Join(const std::string& directory, const std::string& name) {
    return directory.empty() ? name : directory + "/" + name;
  }

  void Add(Kind kind, const std::string& path, std::string what, bool mended = false) {
    ++result_.count;
    if (kind == Kind::kMetadata) ++result_.metadata;
    if (result_.differences.size() < kMaxDifferences)
      result_.differences.push_back({kind, path, std::move(what), mended});
  }

  const ComparisonSource& source_;
  const std::function<void()>& going_;
  UniqueFd root_;
  Warnings warnings_;
  LayerTree tree_{warnings_};
  std::vector<uint32_t> names_;  // of each node
  std::unordered_map<const Node*, RawContent> raw_;
  std::set<std::string> damaged_;               // files with other content
  std::unordered_map<ino_t, uint32_t> inodes_;  // the node of each linked inode
  std::unordered_map<uint32_t, ino_t> linked_;  // the inode of each linked node
  Comparison result_;
};

}  // namespace

Comparison CompareLayer(const ComparisonSource& source, const std::function<void()>& going) {
  return LayerCheck(source, going).Run();
}

}  // namespace layerstack::erofs
