#include "erofs/layer_tree.h"

#include <limits.h>
#include <linux/limits.h>

#include <algorithm>
#include <utility>

#include "erofs/posix_acl.h"
#include "erofs/xattrs.h"
#include "sys/failure.h"
#include "sys/resolve.h"
#include "tree/member_path.h"
#include "tree/metadata.h"

namespace layerstack::erofs {

namespace {

constexpr std::string_view kWhiteout = ".wh.";
constexpr char kOpaqueMarker[] = ".wh..wh..opq";
constexpr char kAccessAcl[] = "system.posix_acl_access";
constexpr char kDefaultAcl[] = "system.posix_acl_default";
constexpr char kCapability[] = "security.capability";

[[noreturn]] void Invalid(const std::string& what) { ThrowInput("ERR_LAYER_INVALID", what); }

[[noreturn]] void NotThere(const std::string& path, const std::string& at, const char* why) {
  Invalid("'" + path + "' cannot be reached: '" + at + "' " + why);
}

bool IsTarWhiteout(const std::string& base) { return base.starts_with(kWhiteout); }

bool IsOverlayOwn(const std::string& name) {
  return name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.");
}

// Checks the attribute as the kernel does for a process with all capabilities.
bool ValidCapability(const std::string& value) {
  constexpr size_t kRevisionByte = 3;
  if (value.size() == 20) return value[kRevisionByte] == 2;
  return value.size() == 24 && value[kRevisionByte] == 3;
}

mode_t LayerKindOf(const TarMember& member) {
  switch (member.type) {
    case '0':
    case 'S': return S_IFREG;
    case '2': return S_IFLNK;
    case '3':
    case '4':
    case '6': return NodeTypeOf(member);
    case '5': return S_IFDIR;
    default:
      Invalid("'" + member.name + "' is of type '" + std::string(1, member.type) +
              "', which dockerd does not know: no layer may have it");
  }
}

// Pushes the components of `path` on the stack, the first one on top.
void PushComponents(const std::string& path, std::vector<std::string>& stack) {
  for (size_t end = path.size(); end > 0;) {
    const size_t slash = path.rfind('/', end - 1);
    const size_t start = slash == std::string::npos ? 0 : slash + 1;
    if (start < end) stack.push_back(path.substr(start, end - start));
    if (slash == std::string::npos) return;
    end = slash;
  }
}

void CheckName(const std::string& name, const std::string& member) {
  if (name.size() > NAME_MAX)
    Invalid("'" + member + "' cannot be stored: a name in it is longer than a file system takes");
}

}  // namespace

Node* LayerTree::Add(const TarMember& member) {
  if (member.name.find('\0') != std::string::npos) Invalid("a member has a NUL byte in its name");
  std::optional<std::string> path = CleanMemberPath(member.name);
  if (member.type == 'g') return nullptr;  // applies to nothing, as in dockerd
  if (!path) ThrowInput("ERR_LAYER_ESCAPE", "'" + member.name + "' climbs out of the layer");
  if (path->empty()) {
    // dockerd skips ".", while "/" sets the attributes of the layer's root.
    if (member.name.empty() || member.name.front() != '/') return nullptr;
    if (member.type != '5') Invalid("'" + member.name + "' is the root of the layer, but not a directory");
    Own(At(kRoot), member);
    SetXattrs(At(kRoot), member);
    SetMode(At(kRoot), ModeOf(member));
    SetTimes(At(kRoot), member);
    return nullptr;
  }
  if (IsTarWhiteout(SplitMemberPath(*path).base)) {
    Whiteout(member, *path);
    return nullptr;
  }
  if (member.type == '1') {
    HardLink(member, *path);
    return nullptr;
  }
  const mode_t kind = LayerKindOf(member);
  if (kind == S_IFLNK && std::string_view(LinkTargetOf(member)).size() >= PATH_MAX)
    Invalid("'" + member.name + "' cannot be stored: it is a link to a path that is too long");
  Node& node = At(Place(*path, kind == S_IFDIR));
  node.mode = kind | (kind == S_IFLNK ? 0777 : node.mode & 07777);
  Own(node, member);
  SetXattrs(node, member);
  if (kind != S_IFLNK) SetMode(node, ModeOf(member));
  SetTimes(node, member);
  Fill(node, member, kind);
  return kind == S_IFREG ? &node : nullptr;
}

// Returns the node of a member: a new one in the place of the existing one, or the existing directory.
uint32_t LayerTree::Place(const std::string& path, bool directory) {
  const SplitPath split = SplitMemberPath(path);
  const uint32_t parent = Reach(split.parent, true);
  CheckName(split.base, path);
  const size_t before = nodes_.size();
  const uint32_t index = Make(parent, split.base, directory);
  if (nodes_.size() > before) Inherit(parent, At(index));
  return index;
}

// Returns the directory at a cleaned path. Links are followed inside the layer. `create`: makes missing
// directories.
uint32_t LayerTree::Reach(const std::string& path, bool create) {
  if (parent_path_ == path) return parent_;
  std::vector<std::string> todo;
  PushComponents(path, todo);
  size_t own = todo.size();  // the lowest `own` components are the path's, those above come from links
  int links = 0;
  uint32_t at = kRoot;
  while (!todo.empty()) {
    const std::string name = std::move(todo.back());
    todo.pop_back();
    const bool from_link = todo.size() >= own;
    if (!from_link) own = todo.size();
    if (name == ".") continue;
    if (name == "..") {
      at = At(at).parent;
      continue;
    }
    CheckName(name, path);
    auto found = At(at).children->find(name);
    if (found == At(at).children->end()) {
      if (!create || from_link) NotThere(path, PathOf(at, name), "does not exist in this layer");
      at = MakeParent(at, name);
      continue;
    }
    const Node& node = At(found->second);
    if (node.children) {
      at = found->second;
      continue;
    }
    if (!S_ISLNK(node.mode)) NotThere(path, PathOf(at, name), "is not a directory");
    if (++links > kMaxLinks) NotThere(path, PathOf(at, name), "is one of too many links");
    if (node.target.front() == '/') at = kRoot;
    PushComponents(node.target, todo);
  }
  parent_path_ = path;
  parent_ = at;
  return at;
}

// Makes a parent that has no member of its own: owned by root, mode 0755.
uint32_t LayerTree::MakeParent(uint32_t parent, const std::string& name) {
  if (PathOf(parent, name).size() >= PATH_MAX) {
    ThrowInput("ERR_LIMIT_EXCEEDED", "'" + name + "' is at a path longer than the kernel takes",
               {{"limit", std::to_string(PATH_MAX)}});
  }
  const uint32_t index = Make(parent, name, true);
  Node& node = At(index);
  node.mode |= At(parent).mode & S_ISGID;
  Inherit(parent, node);
  return index;
}

std::string LayerTree::PathOf(uint32_t directory, const std::string& name) const {
  std::string path = name;
  for (uint32_t at = directory; at != kRoot; at = At(at).parent) {
    for (const auto& [child, index] : *At(At(at).parent).children) {
      if (index != at) continue;
      path = child + "/" + path;
      break;
    }
  }
  return path;
}

void LayerTree::Whiteout(const TarMember& member, const std::string& path) {
  const SplitPath split = SplitMemberPath(path);
  if (split.base == kOpaqueMarker) {
    At(Reach(split.parent, true)).opaque = true;
    return;
  }
  const std::string name = split.base.substr(kWhiteout.size());
  if (name.empty() || name == "." || name == "..")
    Invalid("'" + member.name + "' is a whiteout of a name that cannot exist");
  const uint32_t parent = Reach(split.parent, true);
  if (At(parent).children->contains(name))
    Invalid("'" + member.name + "' removes what the same layer has put there");
  Node& node = At(Make(parent, name, false));
  node.mode = S_IFCHR;
  Own(node, member);
}

// Returns the node that a hard link's target names, or nothing.
std::optional<uint32_t> LayerTree::Linked(const std::string& target) {
  const SplitPath split = SplitMemberPath(target);
  const Node::Children& children = *At(Reach(split.parent, false)).children;
  auto found = children.find(split.base);
  return found == children.end() ? std::nullopt : std::optional(found->second);
}

void LayerTree::HardLink(const TarMember& member, const std::string& path) {
  const std::string what = "'" + member.name + "' is a hard link to '" + member.linkname + "', which ";
  const std::optional<std::string> target = CleanMemberPath(member.linkname);
  if (!target) ThrowInput("ERR_LAYER_ESCAPE", what + "is outside the layer");
  if (target->empty()) Invalid(what + (member.linkname.empty() ? "names nothing" : "is the root"));
  std::optional<uint32_t> index = Linked(*target);
  const SplitPath split = SplitMemberPath(path);
  const uint32_t parent = Reach(split.parent, true);
  CheckName(split.base, path);
  if (!index) Invalid(what + "is not in this layer");
  if (At(*index).children) Invalid(what + "cannot be linked to");
  Node::Children& children = *At(parent).children;
  if (children.erase(split.base) > 0) {
    // The link may replace its own target, or a directory above it. Then the target is gone.
    parent_path_.reset();
    index = Linked(*target);
    if (!index) Invalid(what + "is not in this layer");
  }
  children.emplace(split.base, *index);

  // A link's header sets the attributes of the shared inode; the last header wins.
  Node& node = At(*index);
  Own(node, member);
  if (node.xattrs) node.xattrs->erase(kCapability);  // as chown(2) does
  SetXattrs(node, member);
  if (S_ISLNK(node.mode)) return;
  SetMode(node, ModeOf(member));
  SetTimes(node, member);
}

void LayerTree::Own(Node& node, const TarMember& member) {
  node.uid = OwnerOf(member);
  node.gid = GroupOf(member);
}

void LayerTree::SetMode(Node& node, mode_t mode) {
  node.mode = (node.mode & S_IFMT) | mode;
  if (!node.xattrs) return;
  auto acl = node.xattrs->find(kAccessAcl);
  if (acl == node.xattrs->end()) return;
  acl->second = AclUnderMode(acl->second, mode);
  if (acl->second.empty()) node.xattrs->erase(acl);
}

void LayerTree::SetTimes(Node& node, const TarMember& member) {
  timespec times[2];
  TimesOf(member, times);
  node.seconds = times[1].tv_sec;
  node.nanoseconds = static_cast<uint32_t>(times[1].tv_nsec);
  node.dated = true;
}

// Applies the default ACL of the directory to a new entry.
void LayerTree::Inherit(uint32_t parent, Node& node) {
  const Node& directory = At(parent);
  if (!directory.xattrs) return;
  auto acl = directory.xattrs->find(kDefaultAcl);
  if (acl == directory.xattrs->end()) return;
  node.xattrs = std::make_unique<Xattrs>();
  const std::string access = InheritedAcl(acl->second, &node.mode);
  if (!access.empty()) (*node.xattrs)[kAccessAcl] = access;
  if (node.children) (*node.xattrs)[kDefaultAcl] = acl->second;
}

void LayerTree::SetXattrs(Node& node, const TarMember& member) {
  // A link has no ACL to inherit.
  if (S_ISLNK(node.mode) && node.xattrs) node.xattrs->erase(kAccessAcl);
  for (const auto& [name, value] : member.xattrs) SetXattr(node, member, name, value);
  if (!node.xattrs) return;
  EncodeXattrs(*node.xattrs, member.name);  // throws where they are too large
  if (node.xattrs->empty()) node.xattrs.reset();
}

void LayerTree::SetXattr(Node& node, const TarMember& member, const std::string& name,
                         const std::string& value) {
  const std::string shown = name.substr(0, XATTR_NAME_MAX);
  auto denied = [&](const char* why) {
    warnings_.Add("WARN_XATTR_DENIED", member.name, "left '" + name + "' out: " + why);
  };
  auto refuse = [&] {
    Invalid("'" + member.name + "' cannot be stored: no file can have the attribute '" + shown + "' of " +
            std::to_string(value.size()) + " bytes");
  };
  if (IsOverlayOwn(name)) {
    warnings_.Add("WARN_XATTR_DROPPED", member.name,
                  "dropped '" + shown + "': it belongs to overlayfs, not to layers");
    return;
  }
  if (name.empty() || name.size() > XATTR_NAME_MAX || value.size() > XATTR_SIZE_MAX) refuse();
  if (name == "user." || name == "trusted." || name == "security.") refuse();
  if (!HasPrefix(name)) return denied("the file system does not support it");
  if (name.starts_with("user.") && !S_ISREG(node.mode) && !S_ISDIR(node.mode))
    return denied("not permitted here");
  if (!node.xattrs) node.xattrs = std::make_unique<Xattrs>();
  if (name == kAccessAcl || name == kDefaultAcl) {
    const AclVerdict verdict = JudgeAcl(value);
    if (verdict == AclVerdict::kMalformed) refuse();
    if (verdict == AclVerdict::kUnsupported || S_ISLNK(node.mode))
      return denied("the file system does not support it");
    const bool misplaced = name == kDefaultAcl && !node.children && verdict != AclVerdict::kEmpty;
    if (misplaced || verdict == AclVerdict::kDisordered) refuse();
    if (verdict == AclVerdict::kEmpty) {
      node.xattrs->erase(name);
      return;
    }
  }
  if (name == kCapability && !ValidCapability(value)) refuse();
  (*node.xattrs)[name] = value;
}

void LayerTree::PutOver(LayerTree&& upper) {
  const uint32_t shift = static_cast<uint32_t>(nodes_.size());
  for (Node& node : upper.nodes_) {
    node.parent += shift;
    if (node.children)
      for (auto& [name, child] : *node.children) child += shift;
    nodes_.push_back(std::move(node));
  }
  Merge(kRoot, shift);
  // The merged root is the upper layer's.
  for (const auto& [name, child] : *At(shift).children)
    if (At(child).children) At(child).parent = kRoot;
  At(kRoot) = std::move(At(shift));
  At(kRoot).parent = kRoot;
  parent_path_.reset();
}

void LayerTree::Resolve() { Merge(std::nullopt, kRoot); }

void LayerTree::Merge(std::optional<uint32_t> lower, uint32_t upper) {
  std::vector<std::pair<std::optional<uint32_t>, uint32_t>> todo{{lower, upper}};
  while (!todo.empty()) {
    const auto [below, index] = todo.back();
    todo.pop_back();
    Node& node = At(index);
    // overlayfs always merges the roots of layers, even opaque ones.
    const Node* hidden = below && (index == upper || !node.opaque) ? &At(*below) : nullptr;
    node.opaque = false;
    for (const auto& [name, child] : *node.children) {
      if (!At(child).children) continue;
      std::optional<uint32_t> same;
      if (hidden != nullptr) {
        auto found = hidden->children->find(name);
        if (found != hidden->children->end() && At(found->second).children) same = found->second;
      }
      todo.push_back({same, child});
    }
    if (hidden != nullptr) {
      for (const auto& [name, child] : *hidden->children) {
        if (node.children->try_emplace(name, child).second && At(child).children) At(child).parent = index;
      }
    }
    std::erase_if(*node.children, [this](const auto& entry) { return At(entry.second).IsWhiteout(); });
  }
}

}  // namespace layerstack::erofs
