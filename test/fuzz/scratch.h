// A directory of its own for a target that writes files, below /dev/shm where that is, with a canary in it.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "fuzz.h"

namespace layerstack::fuzz {

namespace fs = std::filesystem;

class Scratch {
 public:
  Scratch() {
    fs::path parent = fs::exists("/dev/shm") ? "/dev/shm" : fs::temp_directory_path();
    std::string pattern = (parent / "layerstack-fuzz-XXXXXX").string();
    PROVE(::mkdtemp(pattern.data()));
    home_ = pattern;
    fs::create_directories(home_ / "canary");
    std::ofstream(home_ / "canary" / "a") << "untouched";
    before_ = Canary();
  }
  ~Scratch() { fs::remove_all(home_); }

  // An empty directory `place`, in the place of the one before.
  fs::path Fresh() const {
    fs::remove_all(home_ / "place");
    fs::create_directories(home_ / "place");
    return home_ / "place";
  }

  // Nothing outside of the place has changed.
  void ProveUntouched() const { PROVE(Canary() == before_); }

 private:
  std::string Canary() const {
    std::string state;
    for (const fs::path& path : {home_ / "canary", home_ / "canary" / "a"}) {
      struct stat status;
      PROVE(::lstat(path.c_str(), &status) == 0);
      for (auto number : {int64_t{status.st_mode}, int64_t{status.st_size}, int64_t{status.st_ctim.tv_sec},
                          int64_t{status.st_ctim.tv_nsec}})
        state += std::to_string(number) + ' ';
    }
    for (const auto& entry : fs::directory_iterator(home_ / "canary")) state += entry.path().filename();
    for (const auto& entry : fs::directory_iterator(home_)) {
      std::string name = entry.path().filename();
      PROVE(name == "canary" || name == "place");
    }
    return state;
  }

  fs::path home_;
  std::string before_;
};

}  // namespace layerstack::fuzz
