// Random layers, extracted and indexed: an index that the kernel mounts over the tar must show the tree that
// extraction makes, and refuse what extraction refuses. Stacks of them must show what an overlay of the
// extracted layers shows. Needs root, and a kernel that mounts EROFS from files.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>

#include "check.h"
#include "erofs/index.h"
#include "erofs/posix_acl.h"
#include "sys/erofs_mount.h"
#include "sys/fd.h"
#include "sys/overlay_mount.h"
#include "sys/thread_pool.h"
#include "sys/xattrs.h"
#include "tar_support.h"
#include "tree/apply.h"

namespace fs = std::filesystem;

namespace {

constexpr TarLimits kLimits{1000, 4096, 65536};
constexpr uint64_t kMaxBytes = 1 << 26;

class Bytes : public ByteSource {
 public:
  explicit Bytes(std::string_view bytes) : bytes_(bytes) {}
  std::string_view Next() override { return std::exchange(bytes_, {}); }

 private:
  std::string_view bytes_;
};

class Scratch {
 public:
  Scratch() {
    std::string pattern = (fs::temp_directory_path() / "layerstack-erofs-XXXXXX").string();
    home_ = ::mkdtemp(pattern.data());
    fs::create_directories(home_ / "none");
  }
  ~Scratch() { fs::remove_all(home_); }

  // The layer's directory, or the fault of the layer.
  std::optional<Failure> Extract(const std::string& tar, const std::string& name) {
    const fs::path at = home_ / name;
    fs::remove_all(at);
    fs::create_directories(at / "diff");
    ::chmod((at / "diff").c_str(), 0755);
    return Catch([&] {
      Bytes bytes(tar);
      LayerExtractor(at / "diff", at / "split", kLimits, kMaxBytes, bytes).Run();
    });
  }
  std::string Path(const std::string& name) const { return home_ / name; }

 private:
  fs::path home_;
};

// A directory on a file system from which EROFS can read; tmpfs is not one.
UniqueFd NewFile() {
  UniqueFd fd(::open("/var/tmp", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
  CHECK(static_cast<bool>(fd));
  return fd;
}

UniqueFd FileOf(const std::string& bytes) {
  UniqueFd fd = NewFile();
  CHECK(::write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  return fd;
}

// An index over tars, not mounted.
struct Mounted {
  std::vector<UniqueFd> tars;
  UniqueFd index = NewFile();
  UniqueFd mount;
  erofs::Indexed result;

  std::optional<Failure> Make(const std::vector<std::string>& layers, bool whole, bool hashed = true) {
    erofs::IndexSource source;
    source.whole = whole;
    source.hashed = hashed;
    source.limits = kLimits;
    source.max_bytes = kMaxBytes;
    std::vector<int> fds;
    for (const std::string& tar : layers) {
      // Not at the file's beginning, as in an archive.
      tars.push_back(FileOf(std::string(1024, 'x') + tar));
      fds.push_back(tars.back().get());
      source.devices.push_back({fds.back(), tar.size() + 1024, "tag"});
      source.layers.push_back({static_cast<uint16_t>(fds.size()), 1024, tar.size()});
    }
    std::optional<Failure> failure = Catch([&] { result = erofs::WriteIndex(source, index.get(), [] {}); });
    if (!failure) mount = OpenErofs(index.get(), fds);
    return failure;
  }
};

struct Seen {
  std::string what;  // all but the time
  std::string time;
};
using View = std::map<std::string, Seen>;

std::string XattrsAt(int fd, bool of_overlay) {
  std::map<std::string, std::string> sorted;
  for (const std::string& name : ListXattrs(fd, "")) {
    if (!of_overlay && name.starts_with("trusted.overlay.")) continue;
    sorted[name] = *GetXattr(fd, name, "");
  }
  std::string text;
  for (const auto& [name, value] : sorted) {
    text += " " + name + "=";
    for (const unsigned char byte : value) {
      char hex[3];
      std::snprintf(hex, sizeof hex, "%02x", byte);
      text += hex;
    }
  }
  return text;
}

struct Look {
  bool merged;
  time_t start;
  std::map<std::pair<dev_t, ino_t>, std::string> first;
};

void Walk(int parent, const std::string& name, const std::string& path, Look& look, View& view) {
  struct stat st;
  if (::fstatat(parent, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    // An overlay lists a whiteout that hides nothing, but cannot open it.
    CHECK(look.merged && errno == ENOENT);
    return;
  }
  std::string what =
      std::to_string(st.st_mode) + " " + std::to_string(st.st_uid) + ":" + std::to_string(st.st_gid);
  if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) what += " " + std::to_string(st.st_rdev);
  if (!S_ISDIR(st.st_mode))
    what += " is " + look.first.try_emplace({st.st_dev, st.st_ino}, path).first->second;
  const std::string inode = "/proc/self/fd/" + std::to_string(parent) + "/" + name;
  if (S_ISLNK(st.st_mode)) {
    what += " -> " + fs::read_symlink(inode).string();
  } else if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
    UniqueFd fd(::openat(parent, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    CHECK(static_cast<bool>(fd));
    what += XattrsAt(fd.get(), !look.merged);
    if (S_ISREG(st.st_mode)) {
      std::ifstream in(inode, std::ios::binary);
      what += " " + std::string(std::istreambuf_iterator<char>(in), {});
    } else {
      std::set<std::string> children;
      DIR* directory = ::fdopendir(::dup(fd.get()));
      while (const dirent* entry = ::readdir(directory)) children.insert(entry->d_name);
      ::closedir(directory);
      for (const std::string& child : children)
        if (child != "." && child != "..") Walk(fd.get(), child, path + "/" + child, look, view);
    }
  }
  // A directory that no member describes has the time of its creation, which is 0 in an index.
  const bool dated = st.st_mtim.tv_sec != 0 && st.st_mtim.tv_sec < look.start;
  view[path] = {
      what, dated ? std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec) : "none"};
}

View ViewOf(int root, bool merged, time_t start) {
  View view;
  Look look{merged, start, {}};
  Walk(root, ".", "", look, view);
  return view;
}

std::string Difference(const View& wanted, const View& found) {
  for (const auto& [path, seen] : wanted) {
    auto other = found.find(path);
    if (other == found.end()) return path + " is missing";
    if (other->second.what != seen.what) return path + ": " + other->second.what + " instead of " + seen.what;
    if (other->second.time != seen.time) return path + ": " + other->second.time + " instead of " + seen.time;
  }
  for (const auto& [path, seen] : found)
    if (!wanted.contains(path)) return path + " is too many";
  return "";
}

std::string CodeOf(const std::optional<Failure>& failure) { return failure ? failure->code : "accepted"; }

void CompareLayer(Scratch& scratch, const std::string& tar, int* accepted) {
  const time_t start = ::time(nullptr) - 1;
  const std::optional<Failure> extracted = scratch.Extract(tar, "layer");
  Mounted mounted;
  const std::optional<Failure> indexed = mounted.Make({tar}, false);
  if (CodeOf(extracted) != CodeOf(indexed))
    CHECK_EQ((indexed ? indexed->message : "accepted"), (extracted ? extracted->message : "accepted"));
  CHECK_EQ(CodeOf(indexed), CodeOf(extracted));
  if (extracted) return;
  ++*accepted;
  UniqueFd diff(::open(scratch.Path("layer/diff").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  CHECK_EQ(Difference(ViewOf(diff.get(), false, start), ViewOf(mounted.mount.get(), false, start)), ""s);
}

std::string Number(uint32_t value, size_t size) {
  std::string bytes;
  for (size_t i = 0; i < size; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

std::string AclEntry(unsigned tag, unsigned permissions, uint32_t id = UINT32_MAX) {
  return Number(tag, 2) + Number(permissions, 2) + Number(id, 4);
}

// Ordered or not, with and without the entries that the kernel requires.
std::string RandomAcl(Random& random) {
  std::string acl = Number(Below(random, 12) == 0 ? 1 : 2, 4);
  for (const unsigned tag : {1u, 2u, 4u, 8u, 16u, 32u}) {
    const bool named = tag == 2 || tag == 8;
    if (Below(random, named ? 2 : 12) == 0) continue;
    const unsigned permissions = static_cast<unsigned>(Below(random, 40) == 0 ? 9 : Below(random, 8));
    acl += AclEntry(tag, permissions, named ? static_cast<uint32_t>(Below(random, 5)) : UINT32_MAX);
  }
  if (Below(random, 20) == 0) acl.pop_back();
  return acl;
}

std::string RandomCapability(Random& random) {
  std::string value = Number(Below(random, 4) == 0 ? 0x01000000 : 0x02000001, 4) +
                      std::string(16, static_cast<char>(Below(random, 3)));
  if (Below(random, 3) == 0) value = Number(0x03000001, 4) + std::string(16, '\1') + Number(1000, 4);
  if (Below(random, 8) == 0) value.pop_back();
  return value;
}

// A member with attributes that a kernel judges.
std::string RandomAttributed(Random& random) {
  static const std::array<std::string, 6> names = {"d", "d/a", "d/b", "d/e", "d/e/f", "g"};
  static const std::array<char, 5> types = {'0', '5', '5', '2', '6'};
  std::string records;
  if (Below(random, 2) == 0) records += Record("SCHILY.xattr.system.posix_acl_access", RandomAcl(random));
  if (Below(random, 3) == 0) records += Record("SCHILY.xattr.system.posix_acl_default", RandomAcl(random));
  if (Below(random, 5) == 0) records += Record("SCHILY.xattr.security.capability", RandomCapability(random));
  if (Below(random, 5) == 0) records += Record("SCHILY.xattr.user.any", "thing");
  if (Below(random, 8) == 0) records += Record("SCHILY.xattr.unknown.any", "thing");
  if (Below(random, 8) == 0) records += Record("SCHILY.xattr.trusted.overlay.opaque", "y");
  if (Below(random, 8) == 0) records += Record("mtime", "-5.5");
  const char type = Pick(random, types);
  const std::string name = Pick(random, names);
  if (Below(random, 6) == 0)
    return Pax(records) + Header("h" + std::to_string(Below(random, 3)), '1', name, 0, 0640);
  return (records.empty() ? "" : Pax(records)) +
         Header(name, type, "anywhere", 0, static_cast<unsigned>(Below(random, 010000)));
}

// Compares random layers, of which some are accepted and some are not.
template <typename Make>
void CompareLayers(uint64_t seed, int rounds, int least, Make make) {
  Random random(seed);
  Scratch scratch;
  int accepted = 0;
  for (int i = 0; i < rounds; ++i) CompareLayer(scratch, make(random), &accepted);
  std::printf("     %d of %d accepted\n", accepted, rounds);
  CHECK(accepted > least && accepted < rounds);
}

}  // namespace

TEST(an_index_shows_what_extraction_makes) { CompareLayers(11, 600, 30, RandomTar); }

TEST(an_index_refuses_what_extraction_refuses) {
  CompareLayers(12, 600, 0, [](Random& random) {
    std::string tar = RandomTar(random);
    Mutate(random, tar);
    return tar;
  });
}

TEST(an_index_treats_attributes_as_a_kernel_does) {
  CompareLayers(14, 800, 40, [](Random& random) {
    std::string tar;
    for (uint64_t left = 1 + Below(random, 4); left > 0; --left) tar += RandomAttributed(random);
    return tar;
  });
}

TEST(an_index_of_a_stack_shows_what_an_overlay_of_its_layers_shows) {
  Random random(13);
  Scratch scratch;
  for (int left = 150; left > 0; --left) {
    const time_t start = ::time(nullptr) - 1;
    std::vector<std::string> tars;
    std::vector<std::string> lowers;
    while (tars.size() < 3) {
      std::string tar = RandomTar(random);
      const std::string name = std::to_string(tars.size());
      if (scratch.Extract(tar, name)) continue;
      tars.push_back(std::move(tar));
      lowers.insert(lowers.begin(), name + "/diff");
    }
    Mounted mounted;
    CHECK_EQ(CodeOf(mounted.Make(tars, true)), "accepted"s);
    UniqueFd overlay = OpenOverlay(scratch.Path(""), lowers);
    CHECK_EQ(Difference(ViewOf(overlay.get(), true, start), ViewOf(mounted.mount.get(), true, start)), ""s);
  }
}

int main() {
  IsolateThread();
  return check::RunAll();
}
