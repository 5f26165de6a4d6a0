// Buffers that go from one thread of a job to others, and the bounded queues that carry them. Abort wakes
// everything that waits.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

namespace layerstack {

class Chunk {
 public:
  explicit Chunk(size_t room) : data_(new char[room]), room_(room) {}
  char* Data() { return data_.get(); }
  size_t Room() const { return room_; }
  std::string_view View() const { return {data_.get(), size}; }

  size_t size = 0;

 private:
  std::unique_ptr<char[]> data_;
  size_t room_;
};
using SharedChunk = std::shared_ptr<const Chunk>;

// The size of one read of an input, and the number of such chunks that it lends out.
inline constexpr size_t kChunkBytes = 512 << 10;
inline constexpr size_t kChunks = 8;

// Lends out at most `count` chunks at a time. It reuses them, since fresh memory costs a page fault every 4
// KiB.
class ChunkPool : public std::enable_shared_from_this<ChunkPool> {
 public:
  ChunkPool(size_t room, size_t count) : room_(room), left_(count) {}
  // Waits for a chunk to come back. Null after Abort.
  std::shared_ptr<Chunk> Take();
  void Abort();

 private:
  void Return(Chunk* chunk);

  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<std::unique_ptr<Chunk>> free_;
  size_t room_;
  size_t left_;  // chunks not yet made
  bool aborted_ = false;
};

class ChunkQueue {
 public:
  explicit ChunkQueue(size_t limit) : limit_(limit) {}
  // Waits for room; false after Abort.
  bool Push(SharedChunk chunk);
  // Nothing more will be pushed.
  void Close();
  // Waits for a chunk. Null when the queue is closed and empty, and after Abort.
  SharedChunk Next();
  void Abort();
  bool Aborted();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<SharedChunk> chunks_;
  size_t limit_;
  bool closed_ = false;
  bool aborted_ = false;
};

}  // namespace layerstack
