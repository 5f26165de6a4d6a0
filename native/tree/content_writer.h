// Writes the contents of new files and then sets what must come after them (owner, attributes, mode, times),
// in order and on a thread of its own. Meanwhile the caller makes the next files. Each of the two takes about
// half of the time of a small file.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

#include "format/tar_reader.h"
#include "sys/early_writeback.h"
#include "tree/metadata.h"
#include "tree/warnings.h"

namespace layerstack {

class ContentWriter {
 public:
  ContentWriter();
  // Drops what is not yet written.
  ~ContentWriter();
  ContentWriter(const ContentWriter&) = delete;
  ContentWriter& operator=(const ContentWriter&) = delete;

  // Call Begin, any number of Write, End: one file after another. They wait while too much is unwritten. A
  // Failure may be about an earlier file: its fact `member` names it.
  void Begin(NewFile file, const TarMember& member);
  void Write(std::string_view bytes);
  void End();
  // Waits until all files that have ended are in their final state. Throws the Failure of one that cannot be.
  void Drain();
  // The warnings about the files. Call it after Drain.
  Warnings TakeWarnings();

 private:
  struct Batch;

  Batch& Filling();
  void HandOver();
  void Loop();
  void Perform(Batch& batch);

  std::unique_ptr<Batch> filling_;
  bool open_ = false;  // a file has begun and not ended

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<Batch>> full_;
  std::vector<std::unique_ptr<Batch>> free_;
  size_t batches_ = 0;
  bool busy_ = false;
  std::atomic<bool> stopped_ = false;  // set with the mutex held
  std::exception_ptr failure_;
  std::thread thread_;

  // Used by the thread only.
  NewFile file_;
  TarMember member_;
  Warnings warnings_;
  off_t written_ = 0;
  EarlyWriteback writeback_;
  bool holes_ = false;  // zeros were left out
};

}  // namespace layerstack
