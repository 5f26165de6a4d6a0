// Streaming decompression: push input, pull output. What it allocates does not depend on what the input
// claims, but for zstd's window, which is bounded by kMaxZstdWindowLog. Not thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "codec/sniff.h"

namespace layerstack {

inline constexpr int kMaxZstdWindowLog = 27;  // 128 MiB, the most that `zstd -d` takes without being told

class StreamDecoder {
 public:
  // gzip or zstd; throws ERR_COMPRESSION_UNSUPPORTED for the others, and for zstd where no library has it.
  static std::unique_ptr<StreamDecoder> Create(Compression compression);
  virtual ~StreamDecoder() = default;

  // Best given when Output has returned 0: what is left of earlier input is kept, and copied.
  void Input(std::string chunk);
  void EndInput() { ended_ = true; }

  // Writes up to `room` (> 0) bytes. 0: more input is needed or, when Done, all is out.
  // Throws ERR_LAYER_INVALID where the input is malformed, fails its checksum or has garbage behind its last
  // member or frame, and ERR_LAYER_TRUNCATED where it has ended early (no input at all included).
  size_t Output(char* buffer, size_t room);
  // The input has ended and all its output was taken.
  bool Done() const { return done_; }

 protected:
  struct Step {
    size_t consumed;
    size_t produced;
    bool boundary;  // a member or frame is complete, and none of its output is held back
  };
  // Goes on with `input` (may be empty: then only held back output may come) into `output`.
  virtual Step Decode(const char* input, size_t length, char* output, size_t room) = 0;

 private:
  std::string input_;
  size_t position_ = 0;
  bool ended_ = false;
  bool done_ = false;
  bool boundary_ = false;   // between two members
  bool held_back_ = false;  // the decoder may have output that found no room
};

}  // namespace layerstack
