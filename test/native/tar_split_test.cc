// Tests of the tar-split writer and reader, of the layer assembler and of LayerRebuild, with hostile
// tar-splits and changed directories. Random input comes from fixed seeds.
#include <sys/stat.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <utility>

#include "check.h"
#include "codec/crc64.h"
#include "codec/sha256.h"
#include "codec_support.h"
#include "format/tar_split_reader.h"
#include "format/tar_split_writer.h"
#include "pipeline/rebuild.h"
#include "sys/resolve.h"
#include "sys/whole_io.h"
#include "tree/assembler.h"

using namespace layerstack;
using namespace layerstack::test;
using namespace std::string_literals;
using namespace std::string_view_literals;

namespace {

std::string WriteTarSplit(const fs::path& path, void (*fill)(TarSplitWriter&)) {
  UniqueFd fd = Create(path);
  TarSplitWriter writer(fd.get());
  fill(writer);
  writer.Finish();
  return Decode(Compression::kGzip, ReadFile(path));
}

TarSplitReader OpenReader(const fs::path& path) {
  return TarSplitReader(UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), path.string());
}

// Reads everything there is in a tar-split whose text is `text`.
int ReadAll(const Scratch& scratch, std::string_view text) {
  WriteFile(scratch / "split", Gzip(text));
  TarSplitReader reader = OpenReader(scratch / "split");
  TarSplitEntry entry;
  int count = 0;
  while (reader.Next(entry)) ++count;
  return count;
}

}  // namespace

TEST(TarSplitWriterWritesDockerdsLines) {
  Scratch scratch;
  const std::string text = WriteTarSplit(scratch / "split", [](TarSplitWriter& writer) {
    writer.Segment("abc", 3);
    writer.Segment("def", 3);
    writer.FileEntry("./", 0, std::nullopt);
    Crc64 crc;
    crc.Update("1", 1);
    writer.FileEntry("html<&>\u2028", 1, crc.Bytes());
    writer.FlushSegment();
    writer.Segment("", 0);
    writer.FileEntry("latin1-\xe4\xf6", 7,
                     std::array<uint8_t, 8>{0x4f, 0x26, 1, 0x79, 0xdd, 0x8c, 0x3d, 0xbe});
    writer.FileEntry("", 0, std::nullopt);
    writer.Segment("\0", 1);
  });
  CHECK_EQ(
      text,
      "{\"type\":2,\"payload\":\"YWJjZGVm\",\"position\":0}\n"
      "{\"type\":1,\"name\":\"./\",\"payload\":null,\"position\":1}\n"
      "{\"type\":1,\"name\":\"html\\u003c\\u0026\\u003e\\u2028\",\"size\":1,"
      "\"payload\":\"QyAAAAAAAAA=\",\"position\":2}\n"
      "{\"type\":1,\"name_raw\":\"bGF0aW4xLeT2\",\"size\":7,\"payload\":\"TyYBed2MPb4=\",\"position\":3}\n"
      "{\"type\":1,\"payload\":null,\"position\":4}\n"
      "{\"type\":2,\"payload\":\"AA==\",\"position\":5}\n");
}

TEST(TarSplitWriterSplitsLongSegments) {
  Scratch scratch;
  static const std::string bytes(kMaxSegmentBytes + 10, 'x');
  WriteTarSplit(scratch / "split", [](TarSplitWriter& writer) {
    writer.Segment(bytes.data(), bytes.size());
    writer.FlushSegment();
    writer.Segment(bytes.data(), kMaxSegmentBytes);
  });
  TarSplitReader reader = OpenReader(scratch / "split");
  TarSplitEntry entry;
  std::string sizes;
  while (reader.Next(entry)) sizes += std::to_string(entry.payload.size()) + " ";
  CHECK_EQ(sizes, "1048576 10 1048576 ");
}

TEST(TarSplitReaderReturnsWhatWasWritten) {
  Scratch scratch;
  WriteTarSplit(scratch / "split", [](TarSplitWriter& writer) {
    writer.Segment("a\0b", 3);
    writer.FileEntry("f\xff", 5, std::array<uint8_t, 8>{1, 2, 3, 4, 5, 6, 7, 8});
    writer.FileEntry("a\"<\n", 0, std::nullopt);
  });
  TarSplitReader reader = OpenReader(scratch / "split");
  TarSplitEntry entry;
  CHECK(reader.Next(entry));
  CHECK(entry.type == TarSplitEntry::Type::kSegment);
  CHECK_EQ(entry.payload, "a\0b"s);
  CHECK(reader.Next(entry));
  CHECK(entry.type == TarSplitEntry::Type::kFile);
  CHECK_EQ(entry.name, "f\xff");
  CHECK_EQ(entry.size, 5u);
  CHECK_EQ(static_cast<int>(entry.crc.value()[7]), 8);
  CHECK(reader.Next(entry));
  CHECK_EQ(entry.name, "a\"<\n");
  CHECK(entry.size == 0 && !entry.crc);
  CHECK(!reader.Next(entry));
  CHECK(!reader.Next(entry));
}

TEST(TarSplitReaderTakesOtherWritersForms) {
  Scratch scratch;
  CHECK_EQ(ReadAll(scratch, ""), 0);
  CHECK_EQ(ReadAll(scratch, "\n\n{\"payload\":null,\"type\":2}"), 1);
  CHECK_EQ(ReadAll(scratch, " { \"new\":[1,{}], \"name\" : \"a\\/b\", \"type\":1 , \"position\":9}\r\n"), 1);
  CHECK_EQ(ReadAll(scratch, "{\"type\":1,\"name\":\"a\"}\n{\"type\":1,\"name\":\"a\"}\n"), 2);
}

TEST(TarSplitReaderRefusesHostileLines) {
  Scratch scratch;
  for (const char* line : {
           "{}",
           "[]",
           "null",
           "{\"type\":3}",
           "{\"type\":\"1\"}",
           "{\"type\":-1}",
           "{\"type\":1",
           "{\"type\":1}x",
           "{\"type\":2,\"payload\":\"A\"}",
           "{\"type\":2,\"payload\":\"A A=\"}",
           "{\"type\":2,\"payload\":1}",
           "{\"type\":1,\"name\":\"a\",\"size\":1,\"payload\":null}",
           "{\"type\":1,\"name\":\"a\",\"size\":1,\"payload\":\"AAAA\"}",
           "{\"type\":1,\"name\":\"a\",\"size\":-5,\"payload\":\"QyAAAAAAAAA=\"}",
           "{\"type\":1,\"name\":\"a\",\"size\":9223372036854775808,\"payload\":\"QyAAAAAAAAA=\"}",
           "{\"type\":1,\"name\":\"a\",\"size\":1e9,\"payload\":\"QyAAAAAAAAA=\"}",
           "{\"type\":1,\"name\":null}",
           "{\"type\":1,\"name_raw\":\"-\"}",
           "{\"type\":1,}",
           "{type:1}",
       }) {
    CHECK_FAILS("ERR_STORE_CORRUPT", ReadAll(scratch, line));
  }
  CHECK_FAILS("ERR_STORE_CORRUPT", ReadAll(scratch, std::string(kMaxTarSplitLine + 2, ' ')));
  WriteFile(scratch / "plain", "{\"type\":2}\n");
  TarSplitEntry entry;
  CHECK_FAILS("ERR_STORE_CORRUPT", OpenReader(scratch / "plain").Next(entry));
}

TEST(TarSplitReaderSurvivesMutations) {
  Scratch scratch;
  const std::string text = WriteTarSplit(scratch / "split", [](TarSplitWriter& writer) {
    for (int i = 0; i < 4; ++i) {
      writer.Segment("header", 6);
      writer.FileEntry("dir/\u2028<" + std::to_string(i), static_cast<uint64_t>(i), std::array<uint8_t, 8>{});
    }
  });
  std::mt19937_64 random(6);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string changed = text;
    for (uint64_t i = random() % 4 + 1; i > 0; --i) {
      const size_t at = random() % changed.size();
      switch (random() % 4) {
        case 0: changed[at] = static_cast<char>(random()); break;
        case 1: changed.erase(at, random() % 8); break;
        case 2: changed.insert(at, changed.substr(random() % changed.size(), random() % 16)); break;
        default: changed[at] = "\"\\{}[],:0-=u"[random() % 12];
      }
      if (changed.empty()) changed = "x";
    }
    try {
      ReadAll(scratch, changed);
    } catch (const Failure& failure) {
      CHECK_EQ(failure.code, "ERR_STORE_CORRUPT");
      ++refused;
    }
  }
  CHECK(refused > 1000);
}

// --- assembler ---

namespace {

constexpr const char* kContent = "content of the file";

// A layer directory with `dir/file` and its tar-split: "head", the file under `name`, "tail".
class Layer {
 public:
  explicit Layer(std::string_view name = "dir/file") {
    WriteFile(scratch_ / "diff/dir/file", kContent);
    Record(name, std::string_view(kContent).size());
  }

  void Record(std::string_view name, uint64_t size) {
    UniqueFd fd = Create(scratch_ / "split");
    TarSplitWriter writer(fd.get());
    Crc64 crc;
    crc.Update(kContent, strlen(kContent));
    writer.Segment("head", 4);
    writer.FileEntry(name, size, crc.Bytes());
    writer.Segment("tail", 4);
    writer.Finish();
  }

  std::string Assemble(size_t room = 1 << 20) const {
    LayerAssembler assembler((scratch_ / "diff").string(), (scratch_ / "split").string());
    std::string tar;
    std::string buffer(room, '\0');
    while (size_t count = assembler.Read(buffer.data(), room)) tar.append(buffer, 0, count);
    return tar;
  }

  fs::path operator/(std::string_view name) const { return scratch_ / name; }

 private:
  Scratch scratch_;
};

std::string Expected() { return "head" + std::string(kContent) + "tail"; }

// Runs `test` with openat2 and with the walk that replaces it on older kernels.
void WithBothResolvers(void (*test)()) {
  test();
  SetResolver(Resolver::kWalk);
  try {
    test();
  } catch (...) {
    SetResolver(Resolver::kProbed);
    throw;
  }
  SetResolver(Resolver::kProbed);
}

}  // namespace

TEST(AssemblerRebuildsTheTar) {
  WithBothResolvers([] {
    for (const char* name : {"dir/file", "./dir//file", "/dir/file", "dir/x/../file", "dir/./file/"}) {
      Layer layer(name);
      for (size_t room : {1, 5, 1 << 20}) CHECK_EQ(layer.Assemble(room), Expected());
    }
  });
}

TEST(AssemblerRefusesNamesOutsideTheLayer) {
  Layer layer;
  WriteFile(layer / "file", kContent);
  for (const char* name : {"../file", "dir/../../file", "", ".", "/", ".."}) {
    layer.Record(name, strlen(kContent));
    CHECK_FAILS("ERR_STORE_CORRUPT", layer.Assemble());
  }
  layer.Record("dir/file\0x"sv, strlen(kContent));
  CHECK_FAILS("ERR_STORE_CORRUPT", layer.Assemble());
}

TEST(AssemblerFollowsNoLinkOutOfTheLayer) {
  WithBothResolvers([] {
    Layer layer;
    WriteFile(layer / "outside/file", kContent);
    fs::create_symlink(layer / "outside", layer / "diff/absolute");
    fs::create_symlink("../outside", layer / "diff/climbing");
    fs::create_symlink("file", layer / "diff/dir/link");
    for (const char* name : {"absolute/file", "climbing/file", "dir/link"}) {
      layer.Record(name, strlen(kContent));
      const Failure failure = CAUGHT(layer.Assemble());
      CHECK_EQ(failure.code, "ERR_STORE_CORRUPT");
      CHECK_EQ(failure.facts.at(0).first, "member");
      CHECK_EQ(failure.facts.at(0).second, name);
    }
  });
}

TEST(AssemblerFollowsDirectoryLinksOfTheLayer) {
  WithBothResolvers([] {
    Layer layer("inside/file");
    fs::create_symlink("dir", layer / "diff/inside");
    CHECK_EQ(layer.Assemble(), Expected());
  });
}

TEST(AssemblerSizeIsThatOfTheTar) {
  Layer layer;
  CHECK_EQ(LayerTarSize((layer / "split").string()), Expected().size());
}

TEST(AssemblerRefusesChangedFiles) {
  Layer layer;
  const fs::path file = layer / "diff/dir/file";
  WriteFile(file, "content of the FILE");
  CHECK_FAILS("ERR_STORE_CORRUPT", layer.Assemble());
  WriteFile(file, "shorter");
  CHECK_FAILS("ERR_STORE_CORRUPT", layer.Assemble());
  WriteFile(file, "content of the file and more");
  CHECK_FAILS("ERR_STORE_CORRUPT", layer.Assemble());
  fs::remove(file);
  CHECK_FAILS("ERR_STORE_CORRUPT", layer.Assemble());
  CHECK_EQ(::mkfifo(file.c_str(), 0600), 0);
  CHECK_FAILS("ERR_STORE_CORRUPT", layer.Assemble());
  fs::remove(file);
  fs::create_directory(file);
  CHECK_FAILS("ERR_STORE_CORRUPT", layer.Assemble());
  fs::remove_all(layer / "diff/dir");
  CHECK_FAILS("ERR_STORE_CORRUPT", layer.Assemble());
  WriteFile(layer / "diff/dir", "a file where a directory was");
  CHECK_FAILS("ERR_STORE_CORRUPT", layer.Assemble());
}

TEST(AssemblerOpensNothingForEmptyMembers) {
  Layer layer;
  layer.Record("never/../was/there", 0);
  CHECK_EQ(layer.Assemble(), "headtail");
}

TEST(AssemblerNeedsItsFiles) {
  Layer layer;
  fs::remove(layer / "split");
  const Failure failure = CAUGHT(layer.Assemble());
  CHECK_EQ(failure.code, "ENOENT");
  CHECK_EQ(failure.path, (layer / "split").string());
}

// --- rebuild ---

namespace {

// A tar of 6 MiB, more than all the memory that it goes through.
class LargeLayer {
 public:
  LargeLayer() {
    std::mt19937 random(1);
    for (char& byte : tar) byte = static_cast<char>(random());
    fs::create_directory(scratch_ / "diff");
    UniqueFd fd = Create(scratch_ / "split");
    TarSplitWriter writer(fd.get());
    for (size_t at = 0; at < tar.size(); at += 1 << 20) writer.Segment(tar.data() + at, 1 << 20);
    writer.Finish();
    Sha256 sum;
    sum.Update(tar.data(), tar.size());
    diff_id = sum.HexDigest();
  }

  LayerRebuild Rebuild(const std::string& expected) const {
    return {std::make_unique<LayerAssembler>((scratch_ / "diff").string(), (scratch_ / "split").string()),
            expected};
  }

  std::string tar = std::string(6 << 20, '\0');
  std::string diff_id;

 private:
  Scratch scratch_;
};

// Its reader does not block.
std::pair<UniqueFd, UniqueFd> Pipe(int writer_flags) {
  int fds[2];
  CHECK_EQ(::pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
  CHECK_EQ(::fcntl(fds[1], F_SETFL, writer_flags), 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

void WritesAsFarAsTheReaderGoes(int writer_flags) {
  LargeLayer layer;
  auto [reader, writer] = Pipe(writer_flags);
  LayerRebuild rebuild = layer.Rebuild(layer.diff_id);
  std::string received;
  std::string buffer(1 << 20, '\0');
  for (bool ended = false; !ended;) {
    // No thread reads meanwhile, so each call ends because the pipe is full, in the middle of a piece.
    LayerRebuild::Written written = rebuild.WriteTo(writer.get(), 1 << 20);
    ended = written.ended;
    size_t got = 0;
    while (got < written.bytes) {
      ssize_t count = ::read(reader.get(), buffer.data(), buffer.size());
      CHECK(count > 0);
      received.append(buffer, 0, static_cast<size_t>(count));
      got += static_cast<size_t>(count);
    }
    CHECK_EQ(got, written.bytes);
    WidenPipe(writer.get());
  }
  CHECK(received == layer.tar);
}

}  // namespace

TEST(RebuildWritesAsFarAsTheReaderGoes) {
  WritesAsFarAsTheReaderGoes(O_NONBLOCK);
  WritesAsFarAsTheReaderGoes(0);
}

TEST(RebuildWritesUpToTheLimit) {
  LargeLayer layer;
  Scratch scratch;
  UniqueFd out = Create(scratch / "out");
  LayerRebuild rebuild = layer.Rebuild(layer.diff_id);
  CHECK_EQ(rebuild.WriteTo(out.get(), 1).bytes, size_t{256 << 10});  // a piece
  LayerRebuild::Written rest = rebuild.WriteTo(out.get(), 100 << 20);
  CHECK(rest.ended);
  CHECK(ReadFile(scratch / "out") == layer.tar);
}

TEST(RebuildEndsOnlyWithTheRightDigest) {
  LargeLayer layer;
  Scratch scratch;
  UniqueFd out = Create(scratch / "out");
  LayerRebuild rebuild = layer.Rebuild(std::string(64, '0'));
  CHECK_FAILS("ERR_STORE_CORRUPT", rebuild.WriteTo(out.get(), 100 << 20));
  CHECK_EQ(ReadFile(scratch / "out").size(), layer.tar.size());
}

TEST(RebuildFailsAsTheWriteDoes) {
  LargeLayer layer;
  LayerRebuild rebuild = layer.Rebuild(layer.diff_id);
  const Failure failure = CAUGHT(rebuild.WriteTo(-1, 1));
  CHECK_EQ(failure.code, "EBADF");
  CHECK_EQ(failure.syscall, "write");
}

int main() { return check::RunAll(); }
