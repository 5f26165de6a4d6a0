// Tests of the parallel compressor: its output is one ordinary stream, the same for every schedule of the
// threads, in bounded memory, and it can be stopped at any moment.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <random>
#include <thread>

#include "check.h"
#include "codec/block_codec.h"
#include "codec/library.h"
#include "codec/sha256.h"
#include "codec_support.h"
#include "pipeline/compressor.h"
#include "sys/thread_pool.h"

using namespace layerstack;
using namespace layerstack::test;
using namespace std::string_literals;

namespace {

constexpr size_t kPiece = 256 << 10;

// Text that repeats itself across blocks, and stretches that do not compress.
std::string Sample(size_t length, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes;
  bytes.reserve(length + 64);
  while (bytes.size() < length) {
    if (random() % 4 != 0) {
      bytes += "entry " + std::to_string(random() % 1000) + " of the table of contents\n";
    } else {
      for (size_t i = random() % 3000; i > 0; --i) bytes += static_cast<char>(random());
    }
  }
  bytes.resize(length);
  return bytes;
}

ParallelCompressor::Source SourceOf(const std::string& bytes, size_t piece = kPiece) {
  auto at = std::make_shared<size_t>(0);
  return [&bytes, at, piece]() -> SharedChunk {
    if (*at == bytes.size()) return nullptr;
    auto chunk = std::make_shared<Chunk>(piece);
    chunk->size = bytes.copy(chunk->Data(), piece, *at);
    *at += chunk->size;
    return chunk;
  };
}

struct Taken {
  ParallelCompressor::Piece piece;
  std::optional<Failure> failure;
};

Taken Take(ParallelCompressor& compressor) {
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<Taken> taken;
  compressor.Next([&](Outcome<ParallelCompressor::Piece> outcome) {
    std::lock_guard<std::mutex> guard(mutex);
    taken.emplace();
    if (auto* piece = std::get_if<ParallelCompressor::Piece>(&outcome)) taken->piece = std::move(*piece);
    if (auto* failure = std::get_if<Failure>(&outcome)) taken->failure = std::move(*failure);
    changed.notify_one();
  });
  std::unique_lock<std::mutex> lock(mutex);
  changed.wait(lock, [&] { return taken.has_value(); });
  return std::move(*taken);
}

struct Whole {
  std::string bytes;
  std::string digest;
  uint64_t source_bytes = 0;
};

Whole TakeAll(ParallelCompressor& compressor) {
  Whole whole;
  while (whole.digest.empty()) {
    Taken taken = Take(compressor);
    if (taken.failure) throw *taken.failure;
    whole.bytes += taken.piece.bytes;
    whole.source_bytes += taken.piece.source_bytes;
    whole.digest = taken.piece.digest;
  }
  return whole;
}

Whole Compress(const std::string& bytes, Compression compression, int level = 0,
               GzipEncoder encoder = BestGzipEncoder()) {
  return TakeAll(
      *ParallelCompressor::Create(BlockCodec::Create(compression, level, encoder), SourceOf(bytes)));
}

// The encoders that this machine has.
std::vector<GzipEncoder> GzipEncoders() {
  std::vector<GzipEncoder> encoders = {GzipEncoder::kZlib};
  if (Libdeflate() != nullptr) encoders.push_back(GzipEncoder::kLibdeflate);
  return encoders;
}

// The same stream, made by one thread.
std::string InOneThread(const std::string& bytes, std::unique_ptr<const BlockCodec> codec) {
  BlockCodec::Totals totals;
  std::string out = codec->Head();
  const size_t step = codec->BlockBytes();
  for (size_t at = 0; at == 0 || at < bytes.size(); at += step) {
    std::string_view block = std::string_view(bytes).substr(at, step);
    std::string_view before = std::string_view(bytes).substr(at < step ? 0 : at - step, at < step ? 0 : step);
    BlockCodec::Encoded encoded = codec->Encode({block}, before);
    out += encoded.bytes;
    codec->Join(totals, encoded.totals);
  }
  return out + codec->Tail(totals);
}

std::string SumOf(std::string_view bytes) {
  Sha256 sum;
  sum.Update(bytes.data(), bytes.size());
  return sum.HexDigest();
}

// Waits until `done`, at most ten seconds.
bool Eventually(const std::function<bool()>& done) {
  for (int i = 0; i < 2000 && !done(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return done();
}

const size_t kSizes[] = {0,          1,          kPiece - 1, kPiece,         kPiece + 1,
                         3 * kPiece, 4 * kPiece, 1234567,    17 * kPiece + 5};

}  // namespace

TEST(GzipRoundTripsEverySize) {
  for (GzipEncoder encoder : GzipEncoders()) {
    for (size_t size : kSizes) {
      std::string bytes = Sample(size, size);
      Whole whole = Compress(bytes, Compression::kGzip, 0, encoder);
      CHECK(Decode(Compression::kGzip, whole.bytes) == bytes);
      CHECK_EQ(whole.digest, SumOf(whole.bytes));
      CHECK_EQ(whole.source_bytes, size);
      CHECK_EQ(whole.bytes.substr(0, 8), "\x1f\x8b\x08\0\0\0\0\0"s);  // no name, no time
    }
  }
}

TEST(GzipRoundTripsRandomSizesAndLevels) {
  std::mt19937_64 random(20);
  for (int i = 0; i < 40; ++i) {
    std::string bytes = Sample(random() % (5 * kPiece), random());
    const int level = 1 + static_cast<int>(random() % 9);
    const GzipEncoder encoder = GzipEncoders()[random() % GzipEncoders().size()];
    CHECK(Decode(Compression::kGzip, Compress(bytes, Compression::kGzip, level, encoder).bytes) == bytes);
  }
}

TEST(TheSystemsGzipTakesEitherEncoder) {
  for (GzipEncoder encoder : GzipEncoders()) {
    Scratch scratch;
    std::string bytes = Sample(20 * kPiece + 7, 3);
    WriteFile(scratch / "x.gz", Compress(bytes, Compression::kGzip, 0, encoder).bytes);
    const std::string path = (scratch / "x.gz").string();
    CHECK_EQ(std::system(("gzip -t '" + path + "' && gzip -dc '" + path + "' > '" + path + ".out'").c_str()),
             0);
    CHECK(ReadFile(path + ".out") == bytes);
    if (encoder == GzipEncoder::kLibdeflate) continue;
    // `gzip -l` reads the size from the last eight bytes, so a second member would show.
    CHECK_EQ(
        std::system(("gzip -l '" + path + "' | grep -q ' " + std::to_string(bytes.size()) + " '").c_str()),
        0);
  }
}

TEST(ZlibHasTheFixedHeaderAndLooksBackAcrossBlocks) {
  Whole whole = Compress("", Compression::kGzip, 0, GzipEncoder::kZlib);
  CHECK_EQ(whole.bytes.substr(0, 10), "\x1f\x8b\x08\0\0\0\0\0\0\xff"s);
  // 24 KiB that do not compress, sixteen times over: only the first time costs, also behind a block's start.
  std::mt19937_64 random(4);
  std::string once(24 << 10, '\0');
  for (char& c : once) c = static_cast<char>(random());
  std::string bytes;
  while (bytes.size() < 4 * kPiece) bytes += once;
  CHECK(Compress(bytes, Compression::kGzip, 0, GzipEncoder::kZlib).bytes.size() < 2 * once.size());
}

TEST(LibdeflateMakesAMemberOfEachBlockHoweverItIsCut) {
  if (Libdeflate() == nullptr) {
    CHECK_FAILS("ERR_COMPRESSION_UNSUPPORTED",
                BlockCodec::Create(Compression::kGzip, 0, GzipEncoder::kLibdeflate));
    return;
  }
  auto codec = BlockCodec::Create(Compression::kGzip, 0, GzipEncoder::kLibdeflate);
  std::string bytes = Sample(codec->BlockBytes(), 8);
  const std::string whole = codec->Encode({bytes}, {}).bytes;
  CHECK(Decode(Compression::kGzip, whole) == bytes);
  std::string_view view = bytes;
  CHECK(codec->Encode({view.substr(0, 1), view.substr(1, 70000), view.substr(70001)}, "before").bytes ==
        whole);
  CHECK(Compress(bytes + bytes, Compression::kGzip, 0, GzipEncoder::kLibdeflate).bytes == whole + whole);
  // One thread makes blocks of several levels in turn.
  for (int level : {1, 9, 4, 9, 1}) {
    auto other = BlockCodec::Create(Compression::kGzip, level, GzipEncoder::kLibdeflate);
    CHECK(Decode(Compression::kGzip, other->Encode({bytes}, {}).bytes) == bytes);
    CHECK_EQ(other->Encode({bytes}, {}).bytes == whole, level == 4);
  }
}

TEST(TheBytesDoNotDependOnTheThreads) {
  std::string bytes = Sample(13 * kPiece + 99, 5);
  auto same = [&](Compression compression, GzipEncoder encoder) {
    const std::string wanted = InOneThread(bytes, BlockCodec::Create(compression, 0, encoder));
    std::vector<std::thread> threads;
    std::atomic<int> same = 0;
    for (int i = 0; i < 6; ++i) {
      threads.emplace_back([&] { same += Compress(bytes, compression, 0, encoder).bytes == wanted ? 1 : 0; });
    }
    for (std::thread& thread : threads) thread.join();
    return same.load();
  };
  for (GzipEncoder encoder : GzipEncoders()) CHECK_EQ(same(Compression::kGzip, encoder), 6);
  if (Zstd() != nullptr) CHECK_EQ(same(Compression::kZstd, BestGzipEncoder()), 6);
}

TEST(ZstdRoundTripsOrSaysThatThereIsNone) {
  if (Zstd() == nullptr) {
    CHECK_FAILS("ERR_COMPRESSION_UNSUPPORTED", BlockCodec::Create(Compression::kZstd, 0));
    return;
  }
  for (size_t size : kSizes) {
    std::string bytes = Sample(size, size + 1);
    Whole whole = Compress(bytes, Compression::kZstd);
    CHECK(Decode(Compression::kZstd, whole.bytes) == bytes);
    CHECK_EQ(whole.digest, SumOf(whole.bytes));
  }
}

TEST(MethodsAndLevelsThatThereAreNot) {
  CHECK_FAILS("ERR_COMPRESSION_UNSUPPORTED", BlockCodec::Create(Compression::kXz, 0));
  for (GzipEncoder encoder : GzipEncoders()) {
    CHECK_FAILS("ERR_INVALID_ARGUMENT", BlockCodec::Create(Compression::kGzip, 10, encoder));
    CHECK_FAILS("ERR_INVALID_ARGUMENT", BlockCodec::Create(Compression::kGzip, -1, encoder));
  }
  CHECK_FAILS("ERR_INVALID_ARGUMENT", BlockCodec::Create(Compression::kZstd, 20));
}

TEST(AFailingSourceFailsTheStreamAndThenItIsAtItsEnd) {
  for (int pieces : {0, 1, 7}) {
    int left = pieces;
    auto compressor =
        ParallelCompressor::Create(BlockCodec::Create(Compression::kGzip, 1), [&left]() -> SharedChunk {
          if (left-- == 0) ThrowInput("ERR_STORE_CORRUPT", "the file has changed");
          auto chunk = std::make_shared<Chunk>(kPiece);
          std::fill_n(chunk->Data(), kPiece, 'x');
          chunk->size = kPiece;
          return chunk;
        });
    CHECK_FAILS("ERR_STORE_CORRUPT", TakeAll(*compressor));
    Taken after = Take(*compressor);
    CHECK(!after.failure && after.piece.bytes.empty() && after.piece.digest.empty());
  }
}

TEST(ReadsNoFurtherAheadThanItsBound) {
  std::atomic<size_t> read = 0;
  auto compressor =
      ParallelCompressor::Create(BlockCodec::Create(Compression::kGzip, 1), [&read]() -> SharedChunk {
        auto chunk = std::make_shared<Chunk>(kPiece);
        std::fill_n(chunk->Data(), kPiece, static_cast<char>(read++));
        chunk->size = kPiece;
        return chunk;
      });
  const size_t most = 2 * static_cast<size_t>(Cores()) + 2;
  CHECK(!Take(*compressor).failure);
  CHECK(Eventually(
      [&] { return read == most + 2; }));  // what is held, what was taken, and one that waits for room
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK_EQ(read.load(), most + 2);
  for (int i = 0; i < 10; ++i) CHECK(!Take(*compressor).failure);
  CHECK(Eventually([&] { return read == most + 12; }));
  compressor->Abort();
}

TEST(AbortEndsAReadThatWaitsAndClosesTheSource) {
  std::mutex mutex;
  std::condition_variable changed;
  bool released = false;
  auto held = std::make_shared<int>(0);  // what an open source would hold
  std::weak_ptr<int> open = held;
  auto compressor = ParallelCompressor::Create(BlockCodec::Create(Compression::kGzip, 1),
                                               [&, held = std::move(held)]() -> SharedChunk {
                                                 std::unique_lock<std::mutex> lock(mutex);
                                                 changed.wait(lock, [&] { return released; });
                                                 return nullptr;
                                               });
  std::atomic<int> ended = 0;
  compressor->Next([&](Outcome<ParallelCompressor::Piece> outcome) {
    auto* piece = std::get_if<ParallelCompressor::Piece>(&outcome);
    if (piece && piece->bytes.empty() && piece->digest.empty()) ++ended;
  });
  compressor->Abort();
  CHECK_EQ(ended.load(), 1);
  CHECK(Take(*compressor).piece.bytes.empty());
  compressor->Abort();
  {
    std::lock_guard<std::mutex> guard(mutex);
    released = true;
    changed.notify_all();
  }
  CHECK(Eventually([&] { return open.expired(); }));
}

TEST(AbortAtAnyMomentLeavesNothing) {
  std::mt19937_64 random(6);
  std::string bytes = Sample(40 * kPiece, 7);
  std::vector<std::weak_ptr<ParallelCompressor>> all;
  for (int i = 0; i < 30; ++i) {
    auto compressor = ParallelCompressor::Create(BlockCodec::Create(Compression::kGzip, 1), SourceOf(bytes));
    all.push_back(compressor);
    for (uint64_t taken = random() % 20; taken > 0; --taken) CHECK(!Take(*compressor).failure);
    std::thread other([&] { compressor->Abort(); });
    Taken taken = Take(*compressor);
    CHECK(!taken.failure);
    other.join();
    CHECK(Take(*compressor).piece.bytes.empty());
  }
  CHECK(Eventually(
      [&] { return std::all_of(all.begin(), all.end(), [](const auto& one) { return one.expired(); }); }));
}

int main() { return check::RunAll(); }
