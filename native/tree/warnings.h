// Warnings about parts that were left out of a layer: the first kMaxWarnings of them, and the number of all.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace layerstack {

inline constexpr size_t kMaxWarnings = 100;

struct Warning {
  std::string code;
  std::string member;
  std::string message;
};

class Warnings {
 public:
  void Add(std::string code, const std::string& member, std::string message) {
    ++count_;
    if (list_.size() < kMaxWarnings) list_.push_back({std::move(code), member, std::move(message)});
  }
  void Append(const Warnings& others) {
    for (const Warning& warning : others.list_) Add(warning.code, warning.member, warning.message);
    count_ += others.count_ - others.list_.size();
  }
  uint64_t Count() const { return count_; }
  std::vector<Warning>& List() { return list_; }

 private:
  std::vector<Warning> list_;
  uint64_t count_ = 0;
};

}  // namespace layerstack
