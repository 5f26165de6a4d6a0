#include "tree/archive_file.h"

#include <unistd.h>

#include "codec/sniff.h"
#include "sys/failure.h"

namespace layerstack {

namespace {
constexpr size_t kArchivePiece = 256 << 10;
}

ArchiveFile::ArchiveFile(int fd, std::shared_ptr<std::atomic<bool>> aborted)
    : fd_(fd), aborted_(std::move(aborted)), input_(new char[kArchivePiece]) {
  char head[kSniffBytes];
  const ssize_t got = Again<::pread>(fd, head, sizeof head, 0);
  if (got < 0) ThrowErrno(errno, "read");
  const Compression compression = SniffCompression(head, static_cast<size_t>(got));
  if (compression == Compression::kNone) return;
  decoder_ = StreamDecoder::Create(compression);
  output_.reset(new char[kArchivePiece]);
}

size_t ArchiveFile::Read() {
  const ssize_t got = Again<::pread>(fd_, input_.get(), kArchivePiece, position_);
  if (got < 0) ThrowErrno(errno, "read");
  position_ += got;
  return static_cast<size_t>(got);
}

std::string_view ArchiveFile::Next() {
  Check();
  if (!decoder_) return {input_.get(), Read()};
  while (!decoder_->Done()) {
    const size_t size = decoder_->Output(output_.get(), kArchivePiece);
    if (size > 0) return {output_.get(), size};
    if (decoder_->Done()) break;
    const size_t more = Read();
    if (more == 0) {
      decoder_->EndInput();
    } else {
      decoder_->Input(std::string(input_.get(), more));
    }
  }
  return {};
}

void ArchiveFile::Check() {
  if (aborted_ && *aborted_) ThrowInput("ERR_ABORTED", "the copy was aborted");
}

bool IsArchive(int fd) {
  bool is_archive = false;
  std::optional<Failure> failure = Catch([&] {
    ArchiveFile file(fd, nullptr);
    NoRaw raw;
    TarReader reader(file, raw, {}, kArchiveCodes);
    TarMember member;
    is_archive = reader.Next(member);
  });
  // Such a file may be an archive, so it must not be copied as it is.
  if (failure && (failure->errnum != 0 || failure->code == "ERR_COMPRESSION_UNSUPPORTED")) throw *failure;
  return is_archive;
}

}  // namespace layerstack
