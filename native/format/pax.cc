#include "format/pax.h"

#include <map>

namespace layerstack {

namespace {

bool HasNul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

// A name with a NUL would mean one thing here and another to the kernel.
bool ValidRecord(std::string_view key, std::string_view value) {
  if (key.empty() || HasNul(key)) return false;
  if (key == "path" || key == "linkpath" || key == "uname" || key == "gname") return !HasNul(value);
  return true;
}

}  // namespace

std::optional<PaxRecords> PaxRecords::Parse(std::string_view data) {
  // Ordered, since keys could be chosen to collide in a hash table.
  std::map<std::string_view, std::string_view> last;
  std::vector<std::string_view> order;
  std::string sparse_map;
  size_t sparse_values = 0;
  while (!data.empty()) {
    size_t space = data.find(' ');
    if (space == std::string_view::npos || space > 20) return std::nullopt;
    std::optional<int64_t> length = ParseDecimal(data.substr(0, space));
    if (!length || *length < 5 || static_cast<uint64_t>(*length) > data.size()) return std::nullopt;
    size_t end = static_cast<size_t>(*length) - 1;
    if (end <= space || data[end] != '\n') return std::nullopt;
    std::string_view record = data.substr(space + 1, end - space - 1);
    data.remove_prefix(end + 1);
    size_t equals = record.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    std::string_view key = record.substr(0, equals);
    std::string_view value = record.substr(equals + 1);
    if (!ValidRecord(key, value)) return std::nullopt;

    if (key == "GNU.sparse.offset" || key == "GNU.sparse.numbytes") {
      bool offset_is_due = sparse_values % 2 == 0;
      bool is_offset = key == "GNU.sparse.offset";
      if (is_offset != offset_is_due || value.find(',') != std::string_view::npos) return std::nullopt;
      if (sparse_values++ > 0) sparse_map += ',';
      sparse_map += value;
    } else if (last.insert_or_assign(key, value).second) {
      order.push_back(key);
    }
  }
  PaxRecords records;
  for (std::string_view key : order) {
    if (sparse_values > 0 && key == "GNU.sparse.map") continue;
    records.records_.emplace_back(key, last[key]);
  }
  if (sparse_values > 0) records.records_.emplace_back("GNU.sparse.map", std::move(sparse_map));
  return records;
}

const std::string& PaxRecords::Get(std::string_view key) const {
  static const std::string kNone;
  for (const auto& [name, value] : records_) {
    if (name == key) return value;
  }
  return kNone;
}

std::optional<TarTime> ParsePaxTime(std::string_view text) {
  size_t dot = text.find('.');
  std::optional<int64_t> seconds = ParseDecimal(text.substr(0, dot));
  if (!seconds) return std::nullopt;
  TarTime time{*seconds, 0};
  if (dot == std::string_view::npos) return time;
  int64_t unit = 100'000'000;
  for (char digit : text.substr(dot + 1)) {
    if (digit < '0' || digit > '9') return std::nullopt;
    time.nanoseconds += (digit - '0') * unit;
    unit /= 10;
  }
  if (text[0] == '-' && time.nanoseconds > 0) {  // -1.25 is 0.75 s after -2
    if (time.seconds == INT64_MIN) return std::nullopt;
    time.seconds -= 1;
    time.nanoseconds = 1'000'000'000 - time.nanoseconds;
  }
  return time;
}

}  // namespace layerstack
