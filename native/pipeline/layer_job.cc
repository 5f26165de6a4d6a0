#include "pipeline/layer_job.h"

#include <thread>

#include "codec/decoder.h"
#include "pipeline/chunk_source.h"
#include "sys/thread_pool.h"

namespace layerstack {

namespace {

constexpr size_t kInflateBytes = 512 << 10;
constexpr size_t kInflateChunks = 8;
constexpr size_t kChunksAhead = 8;

constexpr char kAborted[] = "the extraction of the layer was aborted";

}  // namespace

LayerJob::LayerJob(LayerJobOptions options, std::unique_ptr<LayerInput> input)
    : options_(std::move(options)),
      input_(std::move(input)),
      inflated_(std::make_shared<ChunkPool>(kInflateBytes, kInflateChunks)),
      compressed_(kChunksAhead),
      to_hash_(kChunksAhead),
      to_sink_(kChunksAhead) {}

std::shared_ptr<LayerJob> LayerJob::Start(LayerJobOptions options, std::unique_ptr<LayerInput> input,
                                          Done done) {
  std::shared_ptr<LayerJob> job(new LayerJob(std::move(options), std::move(input)));
  std::optional<Failure> failure = Catch([&] {
    RunOnOwnThread([job, done]() mutable {
      job->Run(done);
      done = nullptr;
    });
  });
  if (failure) {
    job->input_->Release(&*failure);
    done(std::move(*failure));
  }
  return job;
}

void LayerJob::Stop() {
  input_->Abort();
  inflated_->Abort();
  compressed_.Abort();
  to_hash_.Abort();
  to_sink_.Abort();
}

void LayerJob::Fail(const Failure& failure) {
  {
    std::lock_guard<std::mutex> guard(mutex_);
    if (!failure_) failure_ = failure;
  }
  Stop();
}

bool LayerJob::HasFailed() {
  std::lock_guard<std::mutex> guard(mutex_);
  return failure_.has_value();
}

void LayerJob::Abort() { Fail(Failure::Input("ERR_ABORTED", kAborted)); }

void LayerJob::Stage(const std::function<void()>& work) {
  if (std::optional<Failure> failure = Catch(work)) Fail(*failure);
}

void LayerJob::Run(const Done& done) {
  IsolateThread();
  done(RunStages());
}

Outcome<AppliedLayer> LayerJob::RunStages() {
  auto start = [this](void (LayerJob::*stage)()) {
    return StartThread([this, stage] { Stage([&] { (this->*stage)(); }); });
  };
  std::vector<std::thread> threads;
  Stage([&] {
    threads.push_back(start(&LayerJob::Read));
    threads.push_back(start(&LayerJob::Inflate));
    threads.push_back(start(&LayerJob::Hash));
    Sink();
  });
  for (std::thread& thread : threads) thread.join();
  if (!HasFailed()) Stage([this] { options_.sink->Finish(result_.diff_id); });
  options_.sink.reset();
  result_.warnings.Append(input_->TakeWarnings());
  std::optional<Failure> failure;
  {
    std::lock_guard<std::mutex> guard(mutex_);
    failure = failure_;
  }
  input_->Release(failure ? &*failure : nullptr);
  if (failure) return std::move(*failure);
  if (result_.compression == Compression::kNone) result_.blob_digest = result_.diff_id;
  return std::move(result_);
}

// Hands a piece of the uncompressed tar to both of its readers. False when the job has stopped.
bool LayerJob::Emit(SharedChunk chunk) {
  result_.tar_size += chunk->size;
  if (result_.tar_size > options_.max_bytes) {
    ThrowInput("ERR_LIMIT_EXCEEDED",
               "the layer is larger than " + std::to_string(options_.max_bytes) + " bytes",
               {{"limit", std::to_string(options_.max_bytes)}});
  }
  return to_hash_.Push(chunk) && to_sink_.Push(std::move(chunk));
}

void LayerJob::EndTar() {
  to_hash_.Close();
  to_sink_.Close();
}

void LayerJob::Read() {
  // Holds the first chunks back until there are enough bytes to tell the compression.
  std::vector<SharedChunk> head;
  std::string magic;
  while (magic.size() < kSniffBytes) {
    SharedChunk chunk = input_->Next();
    if (!chunk) break;
    magic += chunk->View().substr(0, kSniffBytes - magic.size());
    head.push_back(std::move(chunk));
  }
  if (!input_->IsTar()) result_.compression = SniffCompression(magic.data(), magic.size());
  bool plain = result_.compression == Compression::kNone;
  if (result_.compression == Compression::kBzip2 || result_.compression == Compression::kXz) {
    std::string name = CompressionName(result_.compression);
    ThrowInput("ERR_COMPRESSION_UNSUPPORTED",
               "the layer is compressed by " + name + ": decompress it first, with `" + name + " -d`");
  }
  if (plain) compressed_.Close();  // nothing for the inflate thread
  Sha256 sum;
  auto pass = [&](SharedChunk piece) {
    result_.blob_size += piece->size;
    bytes_read_ = result_.blob_size;
    if (plain) return Emit(std::move(piece));
    sum.Update(piece->View().data(), piece->size);
    return compressed_.Push(std::move(piece));
  };
  for (SharedChunk& piece : head) {
    if (!pass(std::move(piece))) return;
  }
  head.clear();
  while (SharedChunk chunk = input_->Next()) {
    if (!pass(std::move(chunk))) return;
  }
  if (plain) return EndTar();
  result_.blob_digest = sum.HexDigest();
  compressed_.Close();
}

void LayerJob::Inflate() {
  SharedChunk piece = compressed_.Next();
  if (!piece) return;  // a plain layer
  // It waits for input, because the reader sets `compression` first.
  std::unique_ptr<StreamDecoder> decoder = StreamDecoder::Create(result_.compression);
  while (!decoder->Done()) {
    if (piece) {
      decoder->Input(std::string(piece->View()));
    } else {
      decoder->EndInput();
    }
    piece.reset();
    for (;;) {
      std::shared_ptr<Chunk> out = inflated_->Take();
      if (!out) return;
      while (out->size < out->Room()) {
        size_t length = decoder->Output(out->Data() + out->size, out->Room() - out->size);
        if (length == 0) break;
        out->size += length;
      }
      bool hungry = out->size < out->Room();
      if (out->size > 0 && !Emit(std::move(out))) return;
      if (hungry) break;
    }
    if (decoder->Done()) break;
    piece = compressed_.Next();
    if (!piece && compressed_.Aborted()) return;
  }
  EndTar();
}

void LayerJob::Hash() {
  Sha256 sum;
  while (SharedChunk chunk = to_hash_.Next()) sum.Update(chunk->View().data(), chunk->size);
  result_.diff_id = sum.HexDigest();
}

void LayerJob::Sink() {
  ChunkSource source(to_sink_, kAborted);
  ExtractedLayer extracted = options_.sink->Take(source);
  result_.entries = extracted.entries;
  result_.content_size = extracted.content_size;
  result_.hole_bytes = extracted.hole_bytes;
  result_.warnings = std::move(extracted.warnings);
}

}  // namespace layerstack
