#include "sys/mount_uses.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <charconv>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>

#include "sys/failure.h"
#include "sys/fd.h"
#include "sys/whole_io.h"

namespace layerstack {

namespace {

constexpr size_t kMaxText = 64 << 20;

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using Directory = std::unique_ptr<DIR, CloseDir>;

// The text of a file in /proc. Empty if it cannot be read, usually because its process has ended.
std::string TextOf(const std::string& path) {
  std::string text;
  UniqueFd fd(Again<::open>(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd || !ReadAll(fd.get(), kMaxText, &text)) text.clear();
  return text;
}

std::string LinkOf(const std::string& path) {
  char text[256];
  const ssize_t length = Again<::readlink>(path.c_str(), text, sizeof text);
  return std::string(text, length < 0 ? 0 : static_cast<size_t>(length));
}

template <typename Number>
Number NumberOf(std::string_view text, int base = 10) {
  Number number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number, base);
  return number;
}

// The value after `key` in the text of an fdinfo.
std::string_view FieldOf(std::string_view text, std::string_view key) {
  const size_t at = text.find(key);
  if (at == std::string_view::npos) return {};
  text.remove_prefix(text.find_first_not_of(" \t", at + key.size()));
  return text.substr(0, text.find('\n'));
}

struct MountLine {
  long id = -1;
  long parent = -1;
  std::string_view device;  // "major:minor"
  std::string_view path;
};

MountLine ParseLine(std::string_view line) {
  MountLine mount;
  for (int at = 0; !line.empty(); ++at) {
    const size_t end = line.find(' ');
    const std::string_view word = line.substr(0, end);
    line.remove_prefix(end == std::string_view::npos ? line.size() : end + 1);
    if (at == 0) mount.id = NumberOf<long>(word);
    if (at == 1) mount.parent = NumberOf<long>(word);
    if (at == 2) mount.device = word;
    if (at == 4) mount.path = word;
    if (at > 4) break;
  }
  return mount;
}

template <typename Use>
void EachMount(std::string_view table, Use use) {
  while (!table.empty()) {
    const size_t end = table.find('\n');
    use(ParseLine(table.substr(0, end)));
    table.remove_prefix(end == std::string_view::npos ? table.size() : end + 1);
  }
}

// A path of the mount table, in which some characters are octal.
std::string Unescape(std::string_view text) {
  std::string path;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\\' && at + 3 < text.size()) {
      path += static_cast<char>(NumberOf<int>(text.substr(at + 1, 3), 8));
      at += 3;
    } else {
      path += text[at];
    }
  }
  return path;
}

class Search {
 public:
  Search(const std::string& target, bool everyone) : everyone_(everyone) {
    UniqueFd fd(Again<::open>(target.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) ThrowErrno(errno, "open", target);
    struct stat st;
    if (Again<::fstat>(fd.get(), &st) != 0) ThrowErrno(errno, "stat", target);
    device_ = st.st_dev;
    device_text_ = std::to_string(major(device_)) + ":" + std::to_string(minor(device_));
    id_ = NumberOf<long>(FieldOf(TextOf("/proc/self/fdinfo/" + std::to_string(fd.get())), "mnt_id:"));
    own_namespace_ = LinkOf("/proc/self/ns/mnt");
  }

  MountUses Run() {
    ReadOwnTable();
    Directory proc(::opendir("/proc"));
    if (!proc) ThrowErrno(errno, "open", "/proc");
    for (const dirent* entry = ::readdir(proc.get()); entry != nullptr; entry = ::readdir(proc.get())) {
      if (const int pid = NumberOf<int>(entry->d_name); pid > 0) LookAt(pid);
    }
    return std::move(uses_);
  }

 private:
  void ReadOwnTable() {
    const std::string table = TextOf("/proc/self/mountinfo");
    EachMount(table, [&](const MountLine& mount) {
      if (mount.id == id_) path_ = mount.path;
    });
    const int self = ::getpid();
    EachMount(table, [&](const MountLine& mount) {
      if (mount.parent == id_ && mount.id != id_ && uses_.below.size() < kMaxUses)
        uses_.below.push_back(Unescape(mount.path));
      if (mount.device != device_text_) return;
      ids_.insert(mount.id);
      if (mount.id != id_) AddOther(self, mount, true);
    });
    has_mount_[own_namespace_] = true;
  }

  void AddOther(int pid, const MountLine& mount, bool own) {
    if (uses_.others.size() >= kMaxUses) return;
    const bool copy = !own && mount.path == path_;
    uses_.others.push_back({pid, CommandOf(pid), Unescape(mount.path), own, copy});
  }

  static std::string CommandOf(int pid) {
    std::string text = TextOf("/proc/" + std::to_string(pid) + "/comm");
    if (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  }

  void LookAt(int pid) {
    const std::string process = "/proc/" + std::to_string(pid);
    const std::string space = LinkOf(process + "/ns/mnt");
    if (space.empty()) return;
    const bool own = space == own_namespace_;
    if (!own && !HasMount(pid, process, space)) return;
    if (own && !everyone_) return;
    if (const auto how = UseOf(process); how && uses_.users.size() < kMaxUses)
      uses_.users.push_back({pid, CommandOf(pid), *how, own});
  }

  // Whether a namespace has the mount. Reads the table of each namespace once.
  bool HasMount(int pid, const std::string& process, const std::string& space) {
    const auto added = has_mount_.try_emplace(space, false);
    bool& known = added.first->second;
    if (!added.second) return known;
    const std::string table = TextOf(process + "/mountinfo");
    EachMount(table, [&](const MountLine& mount) {
      if (mount.device != device_text_) return;
      known = true;
      ids_.insert(mount.id);
      AddOther(pid, mount, false);
    });
    return known;
  }

  bool IsOn(const std::string& path) const {
    struct stat st;
    return Again<::stat>(path.c_str(), &st) == 0 && st.st_dev == device_;
  }

  // How a process uses the mount: the strongest use.
  std::optional<std::string> UseOf(const std::string& process) const {
    std::optional<std::string> how;
    if (IsOn(process + "/cwd")) how = "directory";
    if (IsOn(process + "/root")) how = "root";
    Directory files(::opendir((process + "/fdinfo").c_str()));
    if (!files) return how;
    for (const dirent* entry = ::readdir(files.get()); entry != nullptr; entry = ::readdir(files.get())) {
      if (entry->d_name[0] == '.') continue;
      const std::string info = TextOf(process + "/fdinfo/" + entry->d_name);
      if (!ids_.contains(NumberOf<long>(FieldOf(info, "mnt_id:")))) continue;
      const int flags = NumberOf<int>(FieldOf(info, "flags:"), 8);
      if (flags & O_PATH) continue;
      if ((flags & O_ACCMODE) != O_RDONLY) return "writes";
      if (!how) how = "reads";
    }
    return how;
  }

  const bool everyone_;
  dev_t device_ = 0;
  std::string device_text_;
  long id_ = -1;
  std::string path_;  // as the mount table has it
  std::string own_namespace_;
  std::map<std::string, bool> has_mount_;
  std::set<long> ids_;  // mounts of the file system, in all namespaces
  MountUses uses_;
};

}  // namespace

MountUses FindMountUses(const std::string& target, bool everyone) { return Search(target, everyone).Run(); }

}  // namespace layerstack
