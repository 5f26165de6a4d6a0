#include "tree/content_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "sys/failure.h"
#include "sys/thread_pool.h"
#include "tree/holes.h"
#include "tree/member_fault.h"

namespace layerstack {

namespace {
constexpr size_t kBatchBytes = 256 << 10;
constexpr size_t kBatchParts = 16;  // each may hold an fd
constexpr size_t kBatches = 3;
}  // namespace

// The caller hands over a batch at once. Waking the other thread for each small file would cost as much as
// the file.
struct ContentWriter::Batch {
  struct Part {
    bool begins = false;
    bool ends = false;
    size_t length = 0;
    NewFile file;      // set if it begins
    TarMember member;  // set if it begins
  };

  Part& Last() { return parts[count - 1]; }
  Part& Add() {
    Part& part = parts[count++];
    part.begins = part.ends = false;
    part.length = 0;
    return part;
  }

  std::array<Part, kBatchParts> parts;
  size_t count = 0;
  size_t size = 0;
  size_t attributes = 0;  // bytes of them in memory
  char bytes[kBatchBytes];
};

ContentWriter::ContentWriter() { free_.reserve(kBatches); }

ContentWriter::~ContentWriter() {
  {
    std::lock_guard<std::mutex> guard(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void ContentWriter::Begin(NewFile file, const TarMember& member) {
  if (filling_ && filling_->count == kBatchParts) HandOver();
  Batch::Part& part = Filling().Add();
  part.begins = open_ = true;
  part.file = std::move(file);
  part.member = member;
  for (const auto& [name, value] : member.xattrs)
    filling_->attributes += sizeof member.xattrs[0] + name.size() + value.size();
}

void ContentWriter::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    if (filling_ && filling_->size == kBatchBytes) HandOver();
    Batch& batch = Filling();
    size_t length = std::min(bytes.size(), kBatchBytes - batch.size);
    std::memcpy(batch.bytes + batch.size, bytes.data(), length);
    batch.size += length;
    batch.Last().length += length;
    bytes.remove_prefix(length);
  }
}

void ContentWriter::End() {
  Filling().Last().ends = true;
  open_ = false;
  if (filling_->attributes >= kBatchBytes) HandOver();
}

// The batch to add to. It has a part of the open file.
ContentWriter::Batch& ContentWriter::Filling() {
  if (filling_) return *filling_;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return failure_ || !free_.empty() || batches_ < kBatches; });
    if (failure_) std::rethrow_exception(failure_);
    if (!free_.empty()) {
      filling_ = std::move(free_.back());
      free_.pop_back();
    } else {
      filling_ = std::make_unique_for_overwrite<Batch>();
      ++batches_;
    }
  }
  if (open_) filling_->Add();
  return *filling_;
}

void ContentWriter::HandOver() {
  if (!thread_.joinable()) thread_ = StartThread([this] { Loop(); });
  std::lock_guard<std::mutex> guard(mutex_);
  full_.push_back(std::move(filling_));
  changed_.notify_all();
}

void ContentWriter::Drain() {
  if (filling_) HandOver();
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return failure_ || (full_.empty() && !busy_); });
  if (failure_) std::rethrow_exception(failure_);
}

Warnings ContentWriter::TakeWarnings() { return std::move(warnings_); }

void ContentWriter::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopped_ || !full_.empty(); });
    if (stopped_) return;
    std::unique_ptr<Batch> batch = std::move(full_.front());
    full_.pop_front();
    busy_ = true;
    lock.unlock();
    std::exception_ptr failure;
    try {
      Perform(*batch);
    } catch (Failure& error) {
      JudgeMember(error, member_.name, "ERR_LAYER_INVALID", file_.fd.get());
      failure = std::make_exception_ptr(error);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    busy_ = false;
    failure_ = failure;
    free_.push_back(std::move(batch));
    changed_.notify_all();
    if (failure_) return;
  }
}

void ContentWriter::Perform(Batch& batch) {
  const char* bytes = batch.bytes;
  for (size_t i = 0; i < batch.count && !stopped_; ++i) {
    Batch::Part& part = batch.parts[i];
    if (part.begins) {
      file_ = std::move(part.file);
      member_ = std::move(part.member);
      written_ = 0;
      writeback_ = EarlyWriteback();
      holes_ = false;
    }
    if (!WriteAroundZeros(file_.fd.get(), {bytes, part.length}, &holes_)) ThrowErrno(errno, "write");
    bytes += part.length;
    written_ += static_cast<off_t>(part.length);
    writeback_.Written(file_.fd.get(), written_);
    if (!part.ends) continue;
    if (holes_ && Again<::ftruncate>(file_.fd.get(), written_) < 0) ThrowErrno(errno, "ftruncate");
    FinishFile(file_, member_, warnings_);
    file_.fd.reset();
  }
  batch.count = batch.size = batch.attributes = 0;
}

}  // namespace layerstack
