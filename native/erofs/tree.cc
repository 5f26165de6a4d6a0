#include "erofs/tree.h"

#include <sys/sysmacros.h>

#include <algorithm>

#include "erofs/xattrs.h"
#include "sys/failure.h"
#include "tree/member_path.h"
#include "tree/metadata.h"

namespace layerstack::erofs {

namespace {

constexpr const char* kInvalidMember = "ERR_LAYER_INVALID";
mode_t KindOf(const TarMember& member) {
  switch (member.type) {
    case '0':
    case '7':
    case 'S': return S_IFREG;
    case '2': return S_IFLNK;
    case '5': return S_IFDIR;
    case '3':
    case '4':
    case '6': return NodeTypeOf(member);
    default:
      ThrowInput(kInvalidMember,
                 "'" + member.name + "' is of the unknown type '" + std::string(1, member.type) + "'");
  }
}

}  // namespace

Tree::Tree(Warnings& warnings) : warnings_(warnings) {
  nodes_.emplace_back().children = std::make_unique<Node::Children>();
}

uint64_t Tree::ContentSize() const {
  uint64_t size = 0;
  std::vector<bool> counted(nodes_.size());
  std::vector<uint32_t> directories{kRoot};
  while (!directories.empty()) {
    const Node& directory = At(directories.back());
    directories.pop_back();
    for (const auto& [name, index] : *directory.children) {
      const Node& node = At(index);
      if (node.children) {
        directories.push_back(index);
      } else if (!counted[index]) {
        counted[index] = true;
        size += node.size;
      }
    }
  }
  return size;
}

Node* Tree::Add(const TarMember& member) {
  if (member.type == 'g') return nullptr;  // applies to nothing, as in dockerd
  if ((member.name + member.linkname).find('\0') != std::string::npos)
    ThrowInput(kInvalidMember, "a member has a NUL byte in its name");
  std::optional<std::string> path = CleanMemberPath(member.name);
  if (!path) ThrowInput("ERR_LAYER_ESCAPE", "'" + member.name + "' climbs out of the root");
  if (path->empty()) {
    if (member.type != '5')
      ThrowInput(kInvalidMember, "'" + member.name + "' is the root itself, but not a directory");
    SetRoot(member);
    return nullptr;
  }
  SplitPath split = SplitMemberPath(*path);
  if (parent_path_ != split.parent) {
    parent_ = Parent(split.parent);
    parent_path_ = split.parent;
  }
  if (member.type == '1') {
    Link(parent_, split.base, member);
    return nullptr;
  }
  mode_t kind = KindOf(member);
  Node& node = At(Make(parent_, split.base, kind == S_IFDIR));
  Describe(node, member, kind);
  Fill(node, member, kind);
  return kind == S_IFREG ? &node : nullptr;
}

uint32_t PackedNumber(dev_t device) {
  const unsigned low = minor(device);
  return (low & 0xff) | major(device) << 8 | (low & ~0xffU) << 12;
}

void Tree::Fill(Node& node, const TarMember& member, mode_t kind) {
  if (kind == S_IFLNK) {
    node.target = LinkTargetOf(member);
    node.size = node.target.size();
  } else if (kind == S_IFREG) {
    node.size = member.size;
  } else if (kind != S_IFDIR) {
    node.number = PackedNumber(DeviceOf(member));
  }
}

uint32_t Tree::Parent(const std::string& path) {
  uint32_t at = kRoot;
  for (size_t start = 0; start < path.size();) {
    size_t end = std::min(path.find('/', start), path.size());
    const std::string name = path.substr(start, end - start);
    auto found = At(at).children->find(name);
    at = found == At(at).children->end() ? Make(at, name, true) : found->second;
    if (!At(at).children)
      ThrowInput(kInvalidMember,
                 "'" + path.substr(0, end) + "' is not a directory, but other members are in it");
    start = end + 1;
  }
  return at;
}

uint32_t Tree::Make(uint32_t parent, const std::string& name, bool directory) {
  uint32_t& place = At(parent).children->try_emplace(name, kRoot).first->second;
  if (place != kRoot && directory && At(place).children) return place;
  if (place != kRoot) parent_path_.reset();  // that directory may be in the replaced one
  place = static_cast<uint32_t>(nodes_.size());
  Node& node = nodes_.emplace_back();
  node.parent = parent;
  if (directory) node.children = std::make_unique<Node::Children>();
  return place;
}

void Tree::Link(uint32_t parent, const std::string& name, const TarMember& member) {
  const std::string what = "'" + member.name + "' is a hard link to '" + member.linkname + "', which ";
  std::optional<std::string> target = CleanMemberPath(member.linkname);
  if (!target || target->empty()) ThrowInput("ERR_LAYER_ESCAPE", what + "is not below the root");
  uint32_t at = kRoot;
  for (size_t start = 0; start < target->size();) {
    size_t end = std::min(target->find('/', start), target->size());
    const Node& directory = At(at);
    auto found = directory.children ? directory.children->find(target->substr(start, end - start))
                                    : Node::Children::iterator();
    if (!directory.children || found == directory.children->end())
      ThrowInput(kInvalidMember, what + "does not exist");
    at = found->second;
    start = end + 1;
  }
  if (At(at).children) ThrowInput(kInvalidMember, what + "is a directory");
  auto [place, made] = At(parent).children->try_emplace(name, at);
  if (made) return;
  if (At(place->second).children) parent_path_.reset();
  place->second = at;
}

void Tree::Describe(Node& node, const TarMember& member, mode_t kind) {
  node.mode = kind | (kind == S_IFLNK ? 0777 : ModeOf(member));
  node.uid = OwnerOf(member);
  node.gid = GroupOf(member);
  node.seconds = member.mtime.seconds;
  node.nanoseconds = static_cast<uint32_t>(member.mtime.nanoseconds);
  Xattrs xattrs;
  for (const auto& [name, value] : member.xattrs) {
    if (HasPrefix(name)) {
      xattrs[name] = value;
    } else {
      warnings_.Add("WARN_XATTR_DENIED", member.name,
                    "left '" + name.substr(0, 255) + "' out: EROFS does not support it");
    }
  }
  EncodeXattrs(xattrs, member.name);  // throws where they are too large
  node.xattrs = xattrs.empty() ? nullptr : std::make_unique<Xattrs>(std::move(xattrs));
}

}  // namespace layerstack::erofs
