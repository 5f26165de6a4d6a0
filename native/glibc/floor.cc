// Functions that the addon uses and that glibc has only since 2.29, for the prebuilt addon, which runs from
// 2.28 on (packaging/prebuild.js). Each does what the C library's own does. exports.map hides them, like all
// else.
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" {

// Before 2.33 these were inline functions of the headers. On 64-bit processors the kernel's struct stat is
// glibc's.
int fstatat64(int directory, const char* path, struct stat64* status, int flags) {
  return static_cast<int>(syscall(SYS_newfstatat, directory, path, status, flags));
}

int stat64(const char* path, struct stat64* status) { return fstatat64(AT_FDCWD, path, status, 0); }

int fstat64(int fd, struct stat64* status) { return static_cast<int>(syscall(SYS_fstat, fd, status)); }

int mknodat(int directory, const char* path, mode_t mode, dev_t device) {
  return static_cast<int>(syscall(SYS_mknodat, directory, path, mode, static_cast<unsigned>(device)));
}

int mknod(const char* path, mode_t mode, dev_t device) { return mknodat(AT_FDCWD, path, mode, device); }

// libstdc++ counts references without atomic instructions where this says that there is one thread.
char __libc_single_threaded = 0;
}

// Newer unwinders of libgcc call this to find the table of an address (2.35). Older ones searched as this
// does.
namespace {

struct Search {
  ElfW(Addr) address;
  dl_find_object* found;
};

int look(dl_phdr_info* object, size_t, void* data) {
  auto& search = *static_cast<Search*>(data);
  bool inside = false;
  const ElfW(Phdr)* table = nullptr;
  ElfW(Addr) end = 0;
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = object->dlpi_phdr[i];
    const ElfW(Addr) start = object->dlpi_addr + header.p_vaddr;
    if (header.p_type == PT_GNU_EH_FRAME) table = &header;
    if (header.p_type != PT_LOAD) continue;
    inside |= search.address >= start && search.address - start < header.p_memsz;
    if (start + header.p_memsz > end) end = start + header.p_memsz;
  }
  if (!inside) return 0;
  if (table == nullptr) return -1;
  search.found->dlfo_flags = 0;
  search.found->dlfo_map_start = reinterpret_cast<void*>(object->dlpi_addr);
  search.found->dlfo_map_end = reinterpret_cast<void*>(end);
  search.found->dlfo_link_map = nullptr;
  search.found->dlfo_eh_frame = reinterpret_cast<void*>(object->dlpi_addr + table->p_vaddr);
  return 1;
}

}  // namespace

extern "C" int _dl_find_object(void* address, dl_find_object* found) noexcept {
  Search search{reinterpret_cast<ElfW(Addr)>(address), found};
  return dl_iterate_phdr(look, &search) == 1 ? 0 : -1;
}
