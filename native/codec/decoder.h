// Streaming decompression: push input, pull output. The memory it allocates does not depend on what the input
// claims, except for zstd's window, which kMaxZstdWindowLog bounds. Not thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "codec/sniff.h"

namespace layerstack {

inline constexpr int kMaxZstdWindowLog = 27;  // 128 MiB, the most that `zstd -d` accepts by default

class StreamDecoder {
 public:
  // gzip or zstd. Throws ERR_COMPRESSION_UNSUPPORTED for other formats, and for zstd if no library has it.
  static std::unique_ptr<StreamDecoder> Create(Compression compression);
  virtual ~StreamDecoder() = default;

  // Best called when Output has returned 0: else the rest of the earlier input is copied.
  void Input(std::string chunk);
  void EndInput() { ended_ = true; }

  // Writes up to `room` (> 0) bytes and returns how many. 0 means that more input is needed or, when Done,
  // that all output was taken. Throws ERR_LAYER_INVALID if the input is malformed, fails its checksum or has
  // garbage after its last member or frame, and ERR_LAYER_TRUNCATED if it has ended early or is empty.
  size_t Output(char* buffer, size_t room);
  // The input has ended and all its output was taken.
  bool Done() const { return done_; }

 protected:
  struct Step {
    size_t consumed;
    size_t produced;
    bool boundary;  // a member or frame is complete, and its output was taken
  };
  // Decodes `input` into `output`. If `input` is empty, it yields only the output that found no room before.
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
