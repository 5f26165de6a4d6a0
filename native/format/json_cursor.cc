#include "format/json_cursor.h"

#include <algorithm>
#include <limits>

namespace layerstack {

namespace {

constexpr int kMaxDepth = 16;

// The code unit of a \uXXXX at the start of `text`.
bool CodeUnit(std::string_view text, uint32_t& unit) {
  if (text.size() < 6 || text[0] != '\\' || text[1] != 'u') return false;
  unit = 0;
  for (char c : text.substr(2, 4)) {
    uint32_t digit;
    if (c >= '0' && c <= '9') {
      digit = static_cast<uint32_t>(c - '0');
    } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
      digit = static_cast<uint32_t>((c | 0x20) - 'a' + 10);
    } else {
      return false;
    }
    unit = unit << 4 | digit;
  }
  return true;
}

void AppendUtf8(std::string& out, uint32_t point) {
  auto add = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (point < 0x80) {
    add(point);
  } else if (point < 0x800) {
    add(0xc0 | point >> 6), add(0x80 | (point & 63));
  } else if (point < 0x10000) {
    add(0xe0 | point >> 12), add(0x80 | (point >> 6 & 63)), add(0x80 | (point & 63));
  } else {
    add(0xf0 | point >> 18), add(0x80 | (point >> 12 & 63)), add(0x80 | (point >> 6 & 63));
    add(0x80 | (point & 63));
  }
}

}  // namespace

void JsonCursor::SkipSpace() {
  size_t at = text_.find_first_not_of(" \t\r\n");
  text_.remove_prefix(at == std::string_view::npos ? text_.size() : at);
}

bool JsonCursor::Consume(char c) {
  SkipSpace();
  if (!text_.starts_with(c)) return false;
  text_.remove_prefix(1);
  return true;
}

bool JsonCursor::AtEnd() {
  SkipSpace();
  return text_.empty();
}

bool JsonCursor::Literal(std::string_view word) {
  SkipSpace();
  if (!text_.starts_with(word)) return false;
  text_.remove_prefix(word.size());
  return true;
}

bool JsonCursor::Null() { return Literal("null"); }

bool JsonCursor::String(std::string& scratch, std::string_view& value) {
  if (!Consume('"')) return false;
  size_t end = text_.find('"');
  if (end == std::string_view::npos) return false;
  bool escapes = text_.substr(0, end).find('\\') != std::string_view::npos;
  if (escapes) {
    for (end = 0; end < text_.size() && text_[end] != '"'; ++end) {
      if (text_[end] == '\\') ++end;
    }
    if (end >= text_.size()) return false;
  }
  value = text_.substr(0, end);
  text_.remove_prefix(end + 1);
  if (std::any_of(value.begin(), value.end(), [](unsigned char c) { return c < 0x20; })) return false;
  if (!escapes) return true;
  scratch.clear();
  if (!Unescape(value, scratch)) return false;
  value = scratch;
  return true;
}

bool JsonCursor::Unescape(std::string_view raw, std::string& out) {
  constexpr std::string_view kShort = "\"\\/bfnrt", kMeaning = "\"\\/\b\f\n\r\t";
  while (!raw.empty()) {
    size_t plain = raw.find('\\');
    if (plain == std::string_view::npos) plain = raw.size();
    out.append(raw.substr(0, plain));
    raw.remove_prefix(plain);
    if (raw.empty()) break;
    uint32_t point;
    if (CodeUnit(raw, point)) {
      raw.remove_prefix(6);
      uint32_t low;
      if (point >= 0xd800 && point < 0xe000) {
        bool pair = point < 0xdc00 && CodeUnit(raw, low) && low >= 0xdc00 && low < 0xe000;
        if (pair) raw.remove_prefix(6);
        point = pair ? 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00) : 0xfffd;
      }
      AppendUtf8(out, point);
      continue;
    }
    size_t which = raw.size() < 2 ? std::string_view::npos : kShort.find(raw[1]);
    if (which == std::string_view::npos) return false;
    out += kMeaning[which];
    raw.remove_prefix(2);
  }
  return true;
}

bool JsonCursor::Natural(uint64_t& value) {
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  SkipSpace();
  size_t digits = 0;
  value = 0;
  for (; digits < text_.size() && text_[digits] >= '0' && text_[digits] <= '9'; ++digits) {
    auto digit = static_cast<uint64_t>(text_[digits] - '0');
    if (value > (kMost - digit) / 10) return false;
    value = value * 10 + digit;
  }
  if (digits == 0 || (digits > 1 && text_[0] == '0')) return false;
  text_.remove_prefix(digits);
  return text_.empty() || std::string_view(".eE").find(text_[0]) == std::string_view::npos;
}

bool JsonCursor::Skip() { return SkipValue(0); }

bool JsonCursor::SkipValue(int depth) {
  if (depth > kMaxDepth) return false;
  SkipSpace();
  if (text_.starts_with('"')) {
    std::string scratch;
    std::string_view value;
    return String(scratch, value);
  }
  if (Consume('{')) return SkipMembers('}', true, depth);
  if (Consume('[')) return SkipMembers(']', false, depth);
  if (Literal("null") || Literal("true") || Literal("false")) return true;
  size_t length =
      text_.find_first_not_of("+-.0123456789eE");  // a number; its exact form does not matter here
  if (length == std::string_view::npos) length = text_.size();
  text_.remove_prefix(length);
  return length > 0;
}

bool JsonCursor::SkipMembers(char close, bool keys, int depth) {
  if (Consume(close)) return true;
  for (;;) {
    std::string scratch;
    std::string_view key;
    if (keys && !(String(scratch, key) && Consume(':'))) return false;
    if (!SkipValue(depth + 1)) return false;
    if (Consume(close)) return true;
    if (!Consume(',')) return false;
  }
}

}  // namespace layerstack
