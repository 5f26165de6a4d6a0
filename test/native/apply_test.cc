// Fuzzes the tar reader and the extraction under the sanitizers, from fixed seeds: random members whose names
// and links collide, and mutated archives. The canary beside the layer must always stay untouched. An
// accepted layer must have the size that a walk finds, and must be rebuilt byte for byte.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "check.h"
#include "format/pax.h"
#include "format/tar_header.h"
#include "format/tar_writer.h"
#include "sys/overlay_mount.h"
#include "sys/thread_pool.h"
#include "tar_support.h"
#include "tree/apply.h"
#include "tree/assembler.h"
#include "tree/content_size.h"
#include "tree/content_writer.h"
#include "tree/holes.h"
#include "tree/init_layer.h"
#include "tree/member_fault.h"
#include "tree/member_path.h"
#include "tree/name_set.h"
#include "tree/size_bound.h"

using namespace layerstack;
using namespace std::string_literals;
namespace fs = std::filesystem;

namespace {

class PiecesSource : public ByteSource {
 public:
  PiecesSource(const std::string& bytes, Random& random) : bytes_(bytes), random_(random) {}
  std::string_view Next() override {
    size_t length = std::min<size_t>(1 + Below(random_, 3000), bytes_.size() - at_);
    // A copy of exactly this size, so that reading behind it is seen.
    piece_.assign(bytes_.begin() + static_cast<ptrdiff_t>(at_),
                  bytes_.begin() + static_cast<ptrdiff_t>(at_ + length));
    piece_.shrink_to_fit();
    at_ += length;
    return {piece_.data(), piece_.size()};
  }

 private:
  const std::string& bytes_;
  Random& random_;
  std::vector<char> piece_;
  size_t at_ = 0;
};

// A layer's directory with a canary beside it, which links of the layer aim at.
class Place {
 public:
  Place() {
    std::string pattern = (fs::temp_directory_path() / "layerstack-fuzz-XXXXXX").string();
    home_ = ::mkdtemp(pattern.data());
    fs::create_directories(home_ / "canary");
    std::ofstream(home_ / "canary" / "a") << "untouched";
    ::chmod((home_ / "canary").c_str(), 0750);
    before_ = State();
  }
  ~Place() { fs::remove_all(home_); }

  // Whether the layer was accepted.
  bool Apply(const std::string& tar, Random& random) {
    fs::remove_all(home_ / "layer");
    fs::create_directories(home_ / "layer" / "diff");
    std::string diff = home_ / "layer" / "diff";
    std::string split = home_ / "layer" / "split";
    bool accepted = true;
    try {
      PiecesSource source(tar, random);
      LayerExtractor extractor(diff, split, {1000, 4096, 65536}, 1 << 26, source);
      ExtractedLayer layer = extractor.Run();
      UniqueFd fd(::open(diff.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      CHECK_EQ(layer.content_size, ContentSize(fd.get()));
      CHECK(!fs::exists(diff + ".replaced"));
    } catch (const Failure& failure) {
      // Never a system error: only the members can be at fault here.
      if (!failure.code.starts_with("ERR_LAYER") && failure.code != "ERR_LIMIT_EXCEEDED")
        CHECK_EQ(failure.code + " " + failure.syscall + " " + failure.path, ""s);
      accepted = false;
    }
    CHECK(State() == before_);
    if (accepted) CHECK(Assembled(diff, split) == tar);
    if (accepted) CheckNames(split);
    return accepted;
  }

  mode_t Mode(const std::string& name) const {
    struct stat status;
    CHECK(::lstat((home_ / "layer" / name).c_str(), &status) == 0);
    return status.st_mode & 07777;
  }
  std::string Layer() const { return home_ / "layer"; }

 private:
  // dockerd reads no tar-split in which two entries have one cleaned name.
  static void CheckNames(const std::string& split) {
    TarSplitReader reader(UniqueFd(::open(split.c_str(), O_RDONLY | O_CLOEXEC)), split);
    TarSplitEntry entry;
    std::set<std::string> names;
    while (reader.Next(entry)) {
      if (entry.type == TarSplitEntry::Type::kFile) CHECK(names.insert(*CleanMemberPath(entry.name)).second);
    }
  }

  static std::string Assembled(const std::string& diff, const std::string& split) {
    LayerAssembler assembler(diff, split);
    std::string tar;
    std::array<char, 4096> buffer;
    while (size_t length = assembler.Read(buffer.data(), buffer.size())) tar.append(buffer.data(), length);
    return tar;
  }

  std::string State() const {
    std::string state;
    for (const fs::path& path : {home_ / "canary", home_ / "canary" / "a"}) {
      struct stat status;
      CHECK(::lstat(path.c_str(), &status) == 0);
      state += std::to_string(status.st_mode) + " " + std::to_string(status.st_mtim.tv_nsec) + " " +
               std::to_string(status.st_ctim.tv_nsec) + " " + std::to_string(status.st_size) + "\n";
    }
    for (const auto& entry : fs::directory_iterator(home_)) {
      std::string name = entry.path().filename();
      CHECK(name == "canary" || name == "layer");
    }
    for (const auto& entry : fs::directory_iterator(home_ / "canary"))
      state += entry.path().filename().string();
    return state;
  }

  fs::path home_;
  std::string before_;
};

TEST(random_members_are_refused_or_reassemble) {
  Random random(1);
  Place place;
  int accepted = 0;
  constexpr int kRounds = 2500;
  for (int i = 0; i < kRounds; ++i) accepted += place.Apply(RandomTar(random), random);
  std::printf("     %d of %d accepted\n", accepted, kRounds);
  CHECK(accepted > kRounds / 20 && accepted < kRounds);
}

TEST(mutated_archives_are_refused_or_reassemble) {
  Random random(2);
  Place place;
  int accepted = 0;
  constexpr int kRounds = 2500;
  for (int i = 0; i < kRounds; ++i) {
    std::string tar = RandomTar(random);
    Mutate(random, tar);
    accepted += place.Apply(tar, random);
  }
  std::printf("     %d of %d accepted\n", accepted, kRounds);
  CHECK(accepted > 0 && accepted < kRounds);
}

TEST(random_header_blocks_and_records_are_parsed_within_their_bounds) {
  Random random(3);
  for (int i = 0; i < 20000; ++i) {
    auto block = std::make_unique<char[]>(kTarBlock);
    for (size_t j = 0; j < kTarBlock; ++j) block[j] = static_cast<char>(random());
    if (i % 2 == 0) Seal(block.get());
    ParseTarHeader(block.get());
    std::string records =
        Record("path", "x") + Record("GNU.sparse.offset", "1") + Record("GNU.sparse.numbytes", "2");
    records[Below(random, records.size())] = static_cast<char>(random());
    records.resize(Below(random, records.size() + 1));
    std::vector<char> exact(records.begin(), records.end());
    PaxRecords::Parse({exact.data(), exact.size()});
  }
}

TEST(numbers_and_times_are_read_as_go_reads_them) {
  CHECK_EQ(*ParseTarNumber({" 0000644\0", 9}), 0644);
  CHECK_EQ(*ParseTarNumber({"\0\0\0", 3}), 0);
  CHECK(!ParseTarNumber("0008"));
  CHECK(!ParseTarNumber("12 34"));
  CHECK_EQ(*ParseTarNumber({"\xff\xff\xff\xff\xff\xff\xff\xfb", 8}), -5);
  CHECK_EQ(*ParseTarNumber({"\x80\0\0\0\0\0\1\0", 8}), 256);
  CHECK(!ParseTarNumber({"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12}));
  CHECK(ParsePaxTime("1.5") == (TarTime{1, 500'000'000}));
  CHECK(ParsePaxTime("-1.25") == (TarTime{-2, 750'000'000}));
  CHECK(ParsePaxTime("-0.5") == (TarTime{-1, 500'000'000}));
  CHECK(ParsePaxTime("7.1234567899") == (TarTime{7, 123'456'789}));
  CHECK(ParsePaxTime("7.") == (TarTime{7, 0}));
  CHECK(!ParsePaxTime("7.1x"));
  CHECK(!ParsePaxTime(""));
}

TEST(names_are_cleaned_and_remembered) {
  CHECK_EQ(*CleanMemberPath("/./a//b/../c/"), "a/c");
  CHECK_EQ(*CleanMemberPath("."), "");
  CHECK(!CleanMemberPath("a/../../b"));
  NameSet names;
  for (int i = 0; i < 5000; ++i) CHECK(names.Insert("name" + std::to_string(i)));
  for (int i = 0; i < 5000; ++i) CHECK(!names.Insert("name" + std::to_string(i)));
}

// Another thread writes the contents of files. Changes of a file by a later member come after them.
TEST(a_hard_links_header_is_the_last_word_on_a_file_that_is_still_being_written) {
  Random random(6);
  Place place;
  std::string tar;
  for (int i = 0; i < 100; ++i) {
    std::string name = "f" + std::to_string(i);
    std::string link = Header("l" + std::to_string(i), '1', name, 0, 0600);
    std::snprintf(&link[136], 12, "%011o", 1'500'000'000u);
    Seal(link.data());
    std::string content(700'000 / (1 + i), 'x');
    tar += Header(name, '0', "", content.size(), 0755) + Padded(content) + link;
  }
  CHECK(place.Apply(tar, random));
  for (int i = 0; i < 100; ++i) {
    struct stat status;
    CHECK(::stat((place.Layer() + "/diff/f" + std::to_string(i)).c_str(), &status) == 0);
    CHECK_EQ(status.st_mtim.tv_sec, 1'500'000'000);
    CHECK_EQ(status.st_mode & 07777, 0600u);
  }
}

TEST(files_larger_than_what_waits_to_be_written_are_whole) {
  Random random(7);
  Place place;
  std::string tar;
  for (int i = 0; i < 6; ++i) {
    std::string content(3'000'000 + i, '\0');
    for (char& byte : content) byte = static_cast<char>(random());
    std::string records = Record("SCHILY.xattr.user.t", std::string(i % 2 ? 3000 : 0, 'v'));
    tar += Pax(records) + Header("f" + std::to_string(i), '0', "", content.size()) + Padded(content);
  }
  CHECK(place.Apply(tar, random));  // which puts it together again, and so compares the contents
}

TEST(files_that_wait_to_be_written_give_way_where_no_more_may_be_open) {
  Random random(8);
  Place place;
  std::string tar;
  for (int i = 0; i < 200; ++i) tar += Header("f" + std::to_string(i), '0', "", 7) + Padded("content");
  rlimit before;
  CHECK(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  UniqueFd next(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  rlimit few = {static_cast<rlim_t>(next.get() + 14), before.rlim_max};
  CHECK(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  bool accepted = place.Apply(tar, random);
  CHECK(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(accepted);
}

TEST(a_content_that_cannot_be_written_fails_with_its_own_member) {
  Place place;
  UniqueFd read_only(::open(place.Layer().substr(0, place.Layer().rfind('/')).c_str(), O_RDONLY | O_CLOEXEC));
  TarMember member;
  member.name = "first";
  ContentWriter writer;
  writer.Begin({std::move(read_only)}, member);
  writer.Write("content");
  writer.End();
  Failure failure = CAUGHT(writer.Drain());
  CHECK_EQ(failure.code, "EBADF"s);
  CHECK_EQ(failure.path, "first"s);
  JudgeMember(failure, "second", "ERR_LAYER_INVALID", -1);
  CHECK_EQ(failure.facts.size(), 1u);
  CHECK_EQ(failure.facts[0].second, "first"s);
  // A later call gets an error instead of waiting.
  auto go_on = [&] {
    std::string content(100'000, 'x');
    for (int i = 0; i < 100; ++i) {
      writer.Begin({UniqueFd(::open("/dev/null", O_WRONLY | O_CLOEXEC))}, member);
      writer.Write(content);
      writer.End();
    }
  };
  CHECK_EQ(CAUGHT(go_on()).path, "first"s);
}

TEST(a_failed_call_is_blamed_on_the_member_only_where_its_content_is_the_cause) {
  UniqueFd here(::open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  auto judged = [&](int errnum, const char* syscall, std::string path = "") {
    Failure failure = CAUGHT(ThrowErrno(errnum, syscall, path));
    JudgeMember(failure, "m", "ERR_ARCHIVE_INVALID", here.get());
    CHECK_EQ(failure.facts.back().second, "m"s);
    CHECK_EQ(failure.errnum == 0, failure.code == "ERR_ARCHIVE_INVALID");
    return failure.code;
  };
  for (int errnum :
       {EINVAL, ENAMETOOLONG, E2BIG, ERANGE, EFBIG, ELOOP, ENOTDIR, EMLINK, EXDEV, EILSEQ, EOVERFLOW})
    CHECK_EQ(judged(errnum, "x"), "ERR_ARCHIVE_INVALID"s);
  for (int errnum :
       {EIO, ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM, EROFS, EPERM, EACCES, EBUSY, ESTALE, EUCLEAN})
    CHECK_EQ(judged(errnum, "write"), std::string(ErrnoName(errnum)));
  CHECK_EQ(judged(ENOSPC, "setxattr", "user.x"), "ERR_ARCHIVE_INVALID"s);
  CHECK_EQ(judged(EACCES, "setxattr", "user.x"), "EACCES"s);
  CHECK_EQ(judged(EACCES, "setxattr", "system.posix_acl_default"), "ERR_ARCHIVE_INVALID"s);
  CHECK_EQ(judged(EDQUOT, "setxattr", "user.x"), "EDQUOT"s);

  Failure input = CAUGHT(ThrowInput("ERR_LAYER_INVALID", "of tree/metadata"));
  JudgeMember(input, "m", "ERR_ARCHIVE_INVALID", here.get());
  CHECK_EQ(input.code, "ERR_ARCHIVE_INVALID"s);
}

// A file of `size` bytes with data (letters) at these places, which were chosen to be whole blocks.
UniqueFd FileWithHoles(int64_t size, const SparseMap& data) {
  UniqueFd fd(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  CHECK(fd && ::ftruncate(fd.get(), size) == 0);
  for (const SparseFragment& part : data) {
    std::string bytes(static_cast<size_t>(part.length), 'x');
    CHECK_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), part.offset), static_cast<ssize_t>(bytes.size()));
  }
  return fd;
}

std::string Found(int64_t size, const SparseMap& data) {
  UniqueFd fd = FileWithHoles(size, data);
  struct stat info;
  CHECK(::fstat(fd.get(), &info) == 0);
  std::string text;
  for (const SparseFragment& part : FindData(fd.get(), info).parts)
    text += std::to_string(part.offset >> 10) + "+" + std::to_string(part.length >> 10) + " ";
  return text;
}

TEST(data_is_found_between_holes_that_are_worth_it) {
  constexpr int64_t kKiB = 1024;
  CHECK_EQ(Found(0, {}), "0+0 "s);
  CHECK_EQ(Found(32 * kKiB, {}), "0+32 "s);
  CHECK_EQ(Found(1024 * kKiB, {}), ""s);
  CHECK_EQ(Found(1024 * kKiB, {{0, 1024 * kKiB}}), "0+1024 "s);
  CHECK_EQ(Found(1024 * kKiB, {{512 * kKiB, 64 * kKiB}}), "512+64 "s);
  CHECK_EQ(Found(1024 * kKiB, {{32 * kKiB, 64 * kKiB}, {128 * kKiB, 64 * kKiB}, {512 * kKiB, 480 * kKiB}}),
           "0+192 512+512 "s);
  CHECK_EQ(Found(int64_t{1} << 40, {{int64_t{1} << 39, 4 * kKiB}}), std::to_string(int64_t{1} << 29) + "+4 ");

  // More pieces than a map may have: the smaller holes count as data, and no data is lost.
  SparseMap many;
  for (int64_t i = 0; i < 30'000; ++i) many.push_back({i * 1024 * kKiB, (i % 3 ? 4 : 900) * 4});
  UniqueFd fd = FileWithHoles(30'000 * 1024 * kKiB, many);
  struct stat info;
  CHECK(::fstat(fd.get(), &info) == 0);
  auto [found, filled] = FindData(fd.get(), info);
  CHECK_EQ(found.size(), size_t{24} << 10);
  CHECK_EQ(DataBytes(found) - filled, uint64_t{30'000} * 4 * kKiB);
  CHECK(ValidSparseMap(found, info.st_size, DataBytes(found)));
  size_t at = 0;
  for (const SparseFragment& part : many) {
    while (found[at].offset + found[at].length <= part.offset) CHECK(++at < found.size());
    CHECK(found[at].offset <= part.offset &&
          part.offset + part.length <= found[at].offset + found[at].length);
  }
}

TEST(long_runs_of_zeros_become_holes_and_no_byte_is_lost) {
  Random random(11);
  for (int round = 0; round < 40; ++round) {
    std::string content;
    while (content.size() < 1'000'000)
      content.append(Below(random, 200'000), round == 0 || Below(random, 2) ? '\0' : 'x');
    UniqueFd fd(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    bool holes = false;
    for (size_t at = 0; at < content.size();) {
      size_t piece = std::min(content.size() - at, 1 + Below(random, 300'000));
      CHECK(WriteAroundZeros(fd.get(), {content.data() + at, piece}, &holes));
      at += piece;
    }
    if (holes) CHECK(::ftruncate(fd.get(), static_cast<off_t>(content.size())) == 0);
    std::string back(content.size(), '?');
    CHECK_EQ(::pread(fd.get(), back.data(), back.size(), 0), static_cast<ssize_t>(back.size()));
    CHECK(back == content);
    struct stat info;
    CHECK(::fstat(fd.get(), &info) == 0);
    CHECK_EQ(static_cast<size_t>(info.st_size), content.size());
    if (round == 0) CHECK(info.st_blocks * 512 < 300'000);
  }
}

TEST(a_sparse_member_is_written_as_it_is_read) {
  for (const SparseMap& map : {SparseMap{}, SparseMap{{0, 512}}, SparseMap{{512, 7}, {1 << 20, 1 << 9}}}) {
    TarEntry entry;
    entry.name = "dir/" + std::string(120, 'n') + "\xc3\xa4";
    entry.size = uint64_t{1} << 40;
    entry.sparse = map;
    std::string tar = EncodeTarHeader(entry) + std::string(DataBytes(map), 'x');
    tar.append(TarPadding(DataBytes(map)) + 2 * kTarBlock, '\0');
    Random random(5);
    PiecesSource source(tar, random);
    struct : RawSink {
      void Raw(std::string_view) override {}
    } sink;
    TarReader reader(source, sink, {}, {"ERR_LAYER_INVALID", "ERR_LAYER_TRUNCATED"});
    TarMember member;
    CHECK(reader.Next(member));
    CHECK_EQ(member.name, entry.name);
    CHECK_EQ(member.size, entry.size);
    CHECK_EQ(member.payload, DataBytes(map));
    CHECK(member.sparse && DataBytes(*member.sparse) == DataBytes(map));
    for (size_t i = 0; i < map.size(); ++i)
      CHECK((*member.sparse)[i].offset == map[i].offset && (*member.sparse)[i].length == map[i].length);
    CHECK(!reader.Next(member));
  }
}

TEST(holes_count_against_the_bound_of_bytes) {
  auto sparse = [](uint64_t size) {
    TarMember member;
    member.name = "m";
    member.size = size;
    member.sparse = SparseMap{};
    return member;
  };
  SizeBound bound(1000);
  bound.Take(sparse(400), 100);
  bound.Take(sparse(400), 200);
  CHECK_EQ(bound.Holes(), 800u);
  CHECK_EQ(CAUGHT(bound.Take(sparse(1), 200)).code, "ERR_LIMIT_EXCEEDED"s);
  CHECK_EQ(CAUGHT(bound.Take(sparse(INT64_MAX), 0)).code, "ERR_LIMIT_EXCEEDED"s);
  CHECK_EQ(bound.Holes(), 800u);
  SizeBound none(UINT64_MAX);
  none.Take(sparse(INT64_MAX), 0);
  none.Take(sparse(INT64_MAX), 0);
  CHECK_EQ(CAUGHT(none.Take(sparse(INT64_MAX), 0)).code, "ERR_LIMIT_EXCEEDED"s);
}

// Runs `work` on a thread that a seccomp filter keeps from having a umask of its own, under the umask 077.
template <typename Work>
void WithoutUnshare(Work work) {
  const mode_t before = ::umask(077);
  std::thread([&] {
    sock_filter rules[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                           BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 0, 1),
                           BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                           BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    sock_fprog program = {std::size(rules), rules};
    CHECK(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    IsolateThread();
    CHECK(!ThreadIsIsolated());
    work();
  }).join();
  ::umask(before);
}

TEST(modes_are_exact_where_seccomp_forbids_unshare) {
  Random random(4);
  Place place;
  WithoutUnshare([&] {
    CHECK(place.Apply(Header("missing/parent/f", '0', "", 0, 0666) + Header("d/", '5', "", 0, 0777) +
                          Header("d/fifo", '6', "", 0, 0622),
                      random));
    fs::create_directory(place.Layer() + "/init");
    PopulateInit(place.Layer(), {"diff"}, "init");
  });
  CHECK_EQ(place.Mode("diff/missing"), 0755u);
  CHECK_EQ(place.Mode("diff/missing/parent"), 0755u);
  CHECK_EQ(place.Mode("diff/missing/parent/f"), 0666u);
  CHECK_EQ(place.Mode("diff/d"), 0777u);
  CHECK_EQ(place.Mode("diff/d/fifo"), 0622u);
  CHECK_EQ(place.Mode("split"), 0644u);
  for (const char* name : {"init/proc", "init/.dockerenv", "init/etc", "init/etc/hosts", "init/dev/pts"})
    CHECK_EQ(place.Mode(name), 0755u);
}

TEST(a_store_path_never_becomes_mount_options) {
  Place place;
  const std::string root = place.Layer() + "/x,upperdir=";
  for (const char* name : {"a", "b"}) fs::create_directories(root + "/" + name);
  WithoutUnshare([&] {
    std::string code;
    try {
      MountOverlay({root, place.Layer() + "/merged", {"a", "b"}, "", "", "", true, MountMethod::kMount, {}});
    } catch (const Failure& failure) {
      code = failure.code;
    }
    CHECK_EQ(code, "ERR_INVALID_ARGUMENT");
  });
}

// libstdc++'s std::hash of a 16-byte string (MurmurHash64A) can be inverted: keys that all have one hash.
std::string Colliding(uint64_t first) {
  constexpr uint64_t kMul = 0xc6a4a7935bd1e995, kInverse = 0x5f7a0ea7e59b19bd, kSeed = 0xc70f6907;
  auto mixed = [](uint64_t k) {
    k *= kMul;
    k ^= k >> 47;
    return k * kMul;
  };
  auto unmixed = [](uint64_t k) {
    k *= kInverse;
    k ^= k >> 47;
    return k * kInverse;
  };
  uint64_t hash = ((kSeed ^ (16 * kMul)) ^ mixed(first)) * kMul;
  uint64_t second = unmixed(hash ^ 0x1234567890abcdef);
  std::string key(16, '\0');
  std::memcpy(key.data(), &first, 8);
  std::memcpy(key.data() + 8, &second, 8);
  return key;
}

TEST(pax_keys_that_collide_in_a_hash_table_take_no_longer) {
  CHECK_EQ(std::hash<std::string_view>()(Colliding(1)), std::hash<std::string_view>()(Colliding(2)));
  std::string records;
  for (uint64_t i = 0; records.size() < (1 << 20) - 100; ++i) {
    std::string key = Colliding(i * 0x9e3779b97f4a7c15 | 0x0101010101010101);
    if (key.find_first_of("=\0"s) == std::string::npos) records += Record(key, "v");
  }
  auto start = std::chrono::steady_clock::now();
  CHECK(PaxRecords::Parse(records));
  auto taken = std::chrono::steady_clock::now() - start;
  std::printf("     %lld ms\n", static_cast<long long>(taken / std::chrono::milliseconds(1)));
  CHECK(taken < std::chrono::seconds(5));
}

}  // namespace

TEST(ChecksumsAreOfSignedOrOfUnsignedBytes) {
  std::string block =
      Header("caf\xc3\xa9", '0', "", 0);  // two bytes that are negative where they have a sign
  CHECK(ParseTarHeader(block.data()).has_value());
  const unsigned sum = static_cast<unsigned>(std::stoul(block.substr(148, 6), nullptr, 8));
  for (const unsigned wrong : {sum - 1, sum - 256, sum - 513}) {
    std::snprintf(&block[148], 8, "%06o", wrong);
    CHECK(!ParseTarHeader(block.data()).has_value());
  }
  std::snprintf(&block[148], 8, "%06o", sum - 512);
  CHECK(ParseTarHeader(block.data()).has_value());
}

int main() {
  IsolateThread();
  return check::RunAll();
}
