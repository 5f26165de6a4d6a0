// Tests of native/codec and native/format: sums, encodings and decompression, with damaged and hostile input.
// Random input comes from fixed seeds.
#include <cstdint>
#include <cstring>
#include <random>

#include "check.h"
#include "codec/crc64.h"
#include "codec/library.h"
#include "codec/sha256.h"
#include "codec/sniff.h"
#include "codec_support.h"
#include "format/base64.h"
#include "format/go_json.h"
#include "format/json_cursor.h"

using namespace layerstack;
using namespace layerstack::test;
using namespace std::string_literals;
using namespace std::string_view_literals;

namespace {

std::string RandomBytes(std::mt19937_64& random, size_t length) {
  std::string bytes(length, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

std::string FromHex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

std::string Lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += "line " + std::to_string(i) + " of a layer\n";
  return text;
}

std::string SumOf(std::string_view text, Sha256::Implementation implementation) {
  Sha256 sum(implementation);
  sum.Update(text.data(), text.size());
  return sum.HexDigest();
}

}  // namespace

// --- sums ---

TEST(Crc64Vectors) {
  auto value = [](std::string_view text) {
    Crc64 crc;
    crc.Update(text.data(), text.size());
    return crc.Value();
  };
  CHECK_EQ(value("123456789"), 0xb90956c775a41001u);
  CHECK_EQ(value("1"), 0x4320000000000000u);
  CHECK_EQ(value(""), 0u);
  Crc64 crc;
  crc.Update("1", 1);
  CHECK_EQ(static_cast<int>(crc.Bytes()[0]), 0x43);
  crc.Reset();
  CHECK_EQ(crc.Value(), 0u);
}

TEST(Crc64OfBothWaysAgreesWithTheBitwiseDefinition) {
  std::mt19937_64 random(1);
  const std::string bytes = RandomBytes(random, 5000);
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  for (int round = 0; round < 400; ++round) {
    const size_t offset = random() % 64, length = random() % (round % 2 ? 300 : 4900);
    const uint64_t start = random();
    uint64_t bitwise = start;
    for (size_t i = 0; i < length; ++i) {
      bitwise ^= data[offset + i];
      for (int bit = 0; bit < 8; ++bit) bitwise = (bitwise >> 1) ^ ((bitwise & 1) ? 0xD800000000000000u : 0);
    }
    CHECK_EQ(Crc64Tables(start, data + offset, length), bitwise);
    if (HasCrc64Multiply()) CHECK_EQ(Crc64Multiply(start, data + offset, length), bitwise);
  }
}

TEST(Crc64InPiecesIsTheSame) {
  std::mt19937_64 random(2);
  const std::string bytes = RandomBytes(random, 100000);
  Crc64 whole;
  whole.Update(bytes.data(), bytes.size());
  Crc64 pieces;
  for (size_t at = 0; at < bytes.size();) {
    size_t take = std::min(bytes.size() - at, static_cast<size_t>(random() % 3000));
    pieces.Update(bytes.data() + at, take);
    at += take;
  }
  CHECK_EQ(pieces.Value(), whole.Value());
}

TEST(Sha256Vectors) {
  for (auto implementation : {Sha256::Implementation::kBest, Sha256::Implementation::kBuiltin}) {
    CHECK_EQ(SumOf("", implementation), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK_EQ(SumOf("abc", implementation),
             "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK_EQ(SumOf(std::string(1024, '\0'), implementation),
             "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
    CHECK_EQ(SumOf(std::string(1000000, 'a'), implementation),
             "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  }
}

TEST(Sha256BuiltinAgreesWithOpenSsl) {
  CHECK_EQ(Sha256Source(), "openssl"s);  // otherwise this compares nothing
  std::mt19937_64 random(3);
  for (size_t length = 0; length < 300; ++length) {
    const std::string bytes = RandomBytes(random, length);
    Sha256 pieces(Sha256::Implementation::kBuiltin);
    const size_t cut = length == 0 ? 0 : random() % length;
    pieces.Update(bytes.data(), cut);
    pieces.Update(bytes.data() + cut, length - cut);
    CHECK_EQ(pieces.HexDigest(), SumOf(bytes, Sha256::Implementation::kBest));
  }
}

TEST(Sha256Moves) {
  Sha256 first;
  first.Update("a", 1);
  Sha256 second = std::move(first);
  second.Update("bc", 2);
  CHECK_EQ(second.HexDigest(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

// --- encodings ---

TEST(Base64Vectors) {
  for (auto [plain, text] : {std::pair{"", ""},
                             {"f", "Zg=="},
                             {"fo", "Zm8="},
                             {"foo", "Zm9v"},
                             {"foob", "Zm9vYg=="},
                             {"fooba", "Zm9vYmE="},
                             {"foobar", "Zm9vYmFy"}}) {
    std::string encoded, decoded;
    AppendBase64(encoded, plain, strlen(plain));
    CHECK_EQ(encoded, text);
    CHECK(DecodeBase64(text, decoded));
    CHECK_EQ(decoded, plain);
  }
}

TEST(Base64RoundTrip) {
  std::mt19937_64 random(4);
  for (size_t length = 0; length < 200; ++length) {
    const std::string bytes = RandomBytes(random, length);
    std::string encoded = "kept", decoded = "too";
    AppendBase64(encoded, bytes.data(), length);
    CHECK(DecodeBase64(std::string_view(encoded).substr(4), decoded));
    CHECK_EQ(decoded, "too" + bytes);
  }
}

TEST(Base64RefusesWhatIsNotExact) {
  for (const char* text : {"A", "AA", "AAA", "A===", "====", "=AAA", "AA=A", "AAAA=", "AA==AAAA", "Zm9v\n",
                           "Zm9-", "Zm 9", "Zh==", "Zm9=", "\xff\xff\xff\xff"}) {
    std::string out;
    CHECK(!DecodeBase64(text, out));
  }
}

TEST(GoJsonEscapes) {
  auto json = [](std::string_view text) {
    std::string out;
    AppendGoJsonString(out, text);
    return out;
  };
  CHECK_EQ(json("html<&>\u2028\u2029\u2027"), "\"html\\u003c\\u0026\\u003e\\u2028\\u2029\u2027\"");
  CHECK_EQ(json("a\"b\\c/d\n\r\t\b\f\x01\x1f\x7f\0"sv),
           "\"a\\\"b\\\\c/d\\n\\r\\t\\u0008\\u000c\\u0001\\u001f\x7f\\u0000\"");
  CHECK_EQ(json("gr\u00fc\u00df \U0001f600"), "\"gr\u00fc\u00df \U0001f600\"");
}

TEST(Utf8Validity) {
  for (const char* valid : {"", "a", "\u00e9", "\ufffd", "\uffff", "\U0010ffff", "\ud7ff", "\ue000"}) {
    CHECK(ValidUtf8(valid));
  }
  for (const char* invalid :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc3", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe2\x80",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "latin1-\xe4\xf6", "\xff"}) {
    CHECK(!ValidUtf8(invalid));
  }
}

TEST(JsonCursorReadsStrings) {
  auto read = [](std::string_view text, std::string& out) {
    std::string scratch;
    std::string_view value;
    JsonCursor json(text);
    if (!json.String(scratch, value) || !json.AtEnd()) return false;
    out = value;
    return true;
  };
  std::string out;
  CHECK(read(R"( "a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00" )", out));
  CHECK_EQ(out, "a\"\\/\b\f\n\r\t\u00e9\U0001f600");
  CHECK(read(R"("\ud83d\u0041\udc00")", out));
  CHECK_EQ(out, "\ufffdA\ufffd");
  for (const char* bad :
       {"", "\"", "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\", "'a'", "\"a\"b", "\"a\nb\""}) {
    CHECK(!read(bad, out));
  }
}

TEST(JsonCursorReadsNumbersAndSkips) {
  auto natural = [](std::string_view text, uint64_t& value) { return JsonCursor(text).Natural(value); };
  uint64_t value;
  CHECK(natural("9223372036854775807", value));
  CHECK_EQ(value, 9223372036854775807u);
  CHECK(natural("0", value));
  for (const char* bad :
       {"9223372036854775808", "-1", "1.5", "1e3", "01", "", "99999999999999999999999", "x"}) {
    CHECK(!natural(bad, value));
  }
  for (const char* good : {"null", "[1,{\"a\":[true,-1.5e3]},\"x\"]", "{}", "[]", "\"a\\\"b\""}) {
    JsonCursor json(good);
    CHECK(json.Skip() && json.AtEnd());
  }
  for (const char* bad : {"[1", "{\"a\"}", "{1:2}", "[1,]", "nul"}) CHECK(!JsonCursor(bad).Skip());
  CHECK(!JsonCursor(std::string(100000, '[')).Skip());
}

// --- compression ---

TEST(SniffsByTheFirstBytes) {
  auto name = [](std::string_view head) {
    return std::string(CompressionName(SniffCompression(head.data(), head.size())));
  };
  CHECK_EQ(name("\x1f\x8b\x08\0\0\0"sv), "gzip");
  CHECK_EQ(name("\x28\xb5\x2f\xfd\0\0"sv), "zstd");
  CHECK_EQ(name("\x5a\x2a\x4d\x18\0\0"sv), "zstd");
  CHECK_EQ(name("BZh91A"), "bzip2");
  CHECK_EQ(name("\xfd\x37zXZ\0"sv), "xz");
  for (auto other : {""sv, "\x1f"sv, "\x1f\x8b"sv, "etc/pa"sv, "\xfd\x37zXZ"sv, "\0\0\0\0\0\0"sv}) {
    CHECK_EQ(name(other), "none");
  }
}

TEST(GzipWriterHasGosHeader) {
  const std::string empty = Gzip("");
  CHECK_EQ(empty.substr(0, 10), "\x1f\x8b\x08\0\0\0\0\0\0\xff"sv);
  CHECK_EQ(Decode(Compression::kGzip, empty), "");
  std::mt19937_64 random(5);
  const std::string bytes = RandomBytes(random, 300000) + std::string(300000, 'x');
  CHECK_EQ(Decode(Compression::kGzip, Gzip(bytes)), bytes);
}

TEST(GzipWriterReportsAFullDisk) {
  UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  CHECK_FAILS("ENOSPC", GzipWriter(full.get()).Finish());
}

TEST(GzipInPiecesOfEverySize) {
  const std::string text = Lines(40), input = Gzip(text) + Gzip("") + Gzip("second");
  for (size_t piece : {1, 2, 3, 7, 100, 5000}) {
    for (size_t room : {1, 3, 1000, 100000}) {
      CHECK_EQ(Decode(Compression::kGzip, input, piece, room), text + "second");
    }
  }
}

TEST(GzipTruncatedAnywhereIsTruncated) {
  const std::string input = Gzip(Lines(40)) + Gzip("second");
  const size_t first = Gzip(Lines(40)).size();
  for (size_t length = 0; length < input.size(); ++length) {
    if (length == first) continue;  // whole members
    CHECK_FAILS("ERR_LAYER_TRUNCATED", Decode(Compression::kGzip, input.substr(0, length)));
    CHECK_FAILS("ERR_LAYER_TRUNCATED", Decode(Compression::kGzip, input.substr(0, length), 1, 1));
  }
}

TEST(GzipFlippedBitsNeverGiveOtherContent) {
  const std::string text = Lines(40), input = Gzip(text);
  for (size_t bit = 0; bit < input.size() * 8; ++bit) {
    std::string changed = input;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    try {
      CHECK_EQ(Decode(Compression::kGzip, changed), text);  // mtime, OS, and the like
    } catch (const Failure& failure) {
      CHECK(failure.code == "ERR_LAYER_INVALID" || failure.code == "ERR_LAYER_TRUNCATED");
    }
  }
}

TEST(GzipTrailingGarbageIsRefused) {
  CHECK_FAILS("ERR_LAYER_INVALID", Decode(Compression::kGzip, Gzip("a") + "garbage"));
  CHECK_FAILS("ERR_LAYER_INVALID", Decode(Compression::kGzip, Gzip("a") + std::string(512, '\0')));
  CHECK_FAILS("ERR_LAYER_TRUNCATED", Decode(Compression::kGzip, Gzip("a") + "\x1f"));
}

TEST(GzipHeaderFieldsAndTheirCrc) {
  const std::string body = Gzip("content").substr(10);
  // FHCRC | FEXTRA | FNAME | FCOMMENT, and the CRC-16 of it all.
  std::string header = "\x1f\x8b\x08\x1e\0\0\0\0\0\xff\x02\0ab"s + "name\0"s + "comment\0"s;
  const uint32_t sum = static_cast<uint32_t>(
      Zlib().crc32(0, reinterpret_cast<const Bytef*>(header.data()), static_cast<uInt>(header.size())));
  header += static_cast<char>(sum);
  header += static_cast<char>(sum >> 8);
  CHECK_EQ(Decode(Compression::kGzip, header + body), "content");
  CHECK_EQ(Decode(Compression::kGzip, header + body, 1, 1), "content");
  header.back() = static_cast<char>(header.back() ^ 1);
  CHECK_FAILS("ERR_LAYER_INVALID", Decode(Compression::kGzip, header + body));
}

TEST(DecoderKeepsInputThatWasNotUsed) {
  const std::string input = Gzip("some content");
  auto decoder = StreamDecoder::Create(Compression::kGzip);
  for (char c : input) decoder->Input(std::string(1, c));
  decoder->EndInput();
  char buffer[64];
  CHECK_EQ(decoder->Output(buffer, 4), 4u);
  CHECK(!decoder->Done());
  CHECK_EQ(decoder->Output(buffer + 4, 60), 8u);
  CHECK_EQ(decoder->Output(buffer, 64), 0u);
  CHECK(decoder->Done());
  CHECK_EQ(std::string(buffer, 12), "some content");
}

TEST(OtherCompressionsAreRefused) {
  for (auto compression : {Compression::kNone, Compression::kBzip2, Compression::kXz}) {
    CHECK_FAILS("ERR_COMPRESSION_UNSUPPORTED", StreamDecoder::Create(compression));
  }
}

// `zstd -19 --check` of Lines(40).
const std::string& ZstdLines() {
  static const std::string frame = FromHex(
      "28b52ffd64ee01cd020072050f10b0ebc0e40ef7927c1c3749496a0c7425e6e5e4e3e2e1bfdfe78d"
      "8b898785836fbb4e9b96928e8a86be6e9b35850c11ee0287de597830354c444cad28a811f0f4fd37"
      "f0e510126145980f3b9dbc85d56a59a140aa02e1ab9500");
  return frame;
}

#define NEEDS_ZSTD()                                                                       \
  if (Zstd() == nullptr) {                                                                 \
    CHECK_EQ(ZstdSource(), "none"s);                                                       \
    CHECK_FAILS("ERR_COMPRESSION_UNSUPPORTED", StreamDecoder::Create(Compression::kZstd)); \
    return;                                                                                \
  }

TEST(ZstdFramesInPiecesOfEverySize) {
  NEEDS_ZSTD();
  const std::string skippable = "\x53\x2a\x4d\x18\x03\0\0\0abc"s;
  const std::string input = skippable + ZstdLines() + skippable + ZstdLines() + skippable;
  for (size_t piece : {1, 2, 3, 7, 100, 5000}) {
    for (size_t room : {1, 3, 1000, 100000}) {
      CHECK_EQ(Decode(Compression::kZstd, input, piece, room), Lines(40) + Lines(40));
    }
  }
}

TEST(ZstdTruncatedAnywhereIsTruncated) {
  NEEDS_ZSTD();
  for (size_t length = 0; length < ZstdLines().size(); ++length) {
    CHECK_FAILS("ERR_LAYER_TRUNCATED", Decode(Compression::kZstd, ZstdLines().substr(0, length)));
    CHECK_FAILS("ERR_LAYER_TRUNCATED", Decode(Compression::kZstd, ZstdLines().substr(0, length), 1, 1));
  }
}

TEST(ZstdFlippedBitsNeverGiveOtherContent) {
  NEEDS_ZSTD();
  for (size_t bit = 0; bit < ZstdLines().size() * 8; ++bit) {
    std::string changed = ZstdLines();
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    try {
      CHECK_EQ(Decode(Compression::kZstd, changed), Lines(40));  // unused header bits, a larger window
    } catch (const Failure& failure) {
      CHECK(failure.code == "ERR_LAYER_INVALID" || failure.code == "ERR_LAYER_TRUNCATED");
    }
  }
}

TEST(ZstdGarbageAndLargeWindowsAreRefused) {
  NEEDS_ZSTD();
  CHECK_FAILS("ERR_LAYER_INVALID", Decode(Compression::kZstd, ZstdLines() + "garbage"));
  // A frame that claims a window of 2^28 bytes; one of 2^27 only ends early.
  const std::string start = "\x28\xb5\x2f\xfd\0"s;
  auto with_window = [&](int log) { return start + static_cast<char>((log - 10) << 3) + "\0\0"s; };
  CHECK_FAILS("ERR_LAYER_INVALID", Decode(Compression::kZstd, with_window(28)));
  CHECK_FAILS("ERR_LAYER_TRUNCATED", Decode(Compression::kZstd, with_window(27)));
}

int main() { return check::RunAll(); }
