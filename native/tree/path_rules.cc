#include "tree/path_rules.h"

namespace layerstack {

namespace {

// Bytes that are not UTF-8 become characters that no pattern names.
constexpr char32_t kInvalid = 0x110000;

std::u32string Characters(std::string_view text) {
  std::u32string result;
  result.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const auto first = static_cast<unsigned char>(text[at]);
    const size_t length = first < 0x80       ? 1
                          : first >> 5 == 6  ? 2
                          : first >> 4 == 14 ? 3
                          : first >> 3 == 30 ? 4
                                             : 0;
    char32_t character = length == 1 ? first : length == 0 ? 0 : first & (0xff >> (length + 1));
    bool valid = length > 0 && at + length <= text.size();
    for (size_t next = 1; valid && next < length; ++next) {
      const auto byte = static_cast<unsigned char>(text[at + next]);
      valid = byte >> 6 == 2;
      character = character << 6 | (byte & 0x3f);
    }
    result.push_back(valid ? character : kInvalid + first);
    at += valid ? length : 1;
  }
  return result;
}

bool Any(const std::vector<char>& states) {
  for (char state : states) {
    if (state) return true;
  }
  return false;
}

}  // namespace

PathPattern::PathPattern(std::string_view pattern) {
  using Kind = Token::Kind;
  const std::u32string text = Characters(pattern);
  for (size_t at = 0; at < text.size();) {
    const char32_t character = text[at++];
    if (character == '*' && at < text.size() && text[at] == '*') {
      ++at;
      if (at < text.size() && text[at] == '/') ++at;
      if (at == text.size()) {
        tokens_.push_back({Kind::kAll});
      } else {
        tokens_.push_back({Kind::kDirectories});
        tokens_.push_back({Kind::kBelowDirectories});
      }
    } else if (character == '*') {
      tokens_.push_back({Kind::kStar});
    } else if (character == '?') {
      tokens_.push_back({Kind::kAny});
    } else if (character == '[' && text.find(']', at + 1) != std::u32string::npos) {
      ReadClass(text, &at);
    } else {
      const bool escaped = character == '\\' && at < text.size();
      tokens_.push_back({Kind::kOne, escaped ? text[at++] : character});
    }
  }
}

void PathPattern::ReadClass(const std::u32string& text, size_t* at) {
  Token token{Token::Kind::kClass};
  auto read = [&] {
    if (text[*at] == '\\' && *at + 1 < text.size()) ++*at;
    return text[(*at)++];
  };
  if (text[*at] == '^') {
    token.negated = true;
    ++*at;
  }
  while (*at < text.size() && (text[*at] != ']' || token.ranges.empty())) {
    const char32_t low = read();
    char32_t high = low;
    if (*at + 1 < text.size() && text[*at] == '-' && text[*at + 1] != ']') {
      ++*at;
      high = read();
    }
    token.ranges.emplace_back(low, high);
  }
  if (*at < text.size()) ++*at;
  tokens_.push_back(std::move(token));
}

bool PathPattern::Takes(const Token& token, char32_t character) {
  using Kind = Token::Kind;
  switch (token.kind) {
    case Kind::kOne: return character == token.character;
    case Kind::kAny:
    case Kind::kStar: return character != '/';
    case Kind::kClass: {
      for (const auto& [low, high] : token.ranges) {
        if (low <= character && character <= high) return !token.negated;
      }
      return token.negated;
    }
    case Kind::kBelowDirectories:
    case Kind::kAll: return true;
    case Kind::kDirectories: return false;
  }
  return false;
}

// Activates a state, and those that it leads to without a character.
void PathPattern::Enter(size_t state, std::vector<char>& states) const {
  using Kind = Token::Kind;
  states[state] = 1;
  if (state == tokens_.size()) return;
  const Kind kind = tokens_[state].kind;
  if (kind == Kind::kStar || kind == Kind::kAll) Enter(state + 1, states);
  if (kind == Kind::kDirectories) {
    Enter(state + 1, states);
    Enter(state + 2, states);
  }
}

PathPattern::Match PathPattern::Of(std::string_view path) const {
  using Kind = Token::Kind;
  const size_t end = tokens_.size();
  std::vector<char> states(end + 1);
  Enter(0, states);
  Match match;
  auto step = [&](char32_t character) {
    std::vector<char> next(end + 1);
    for (size_t state = 0; state < end; ++state) {
      const Token& token = tokens_[state];
      if (!states[state] || !Takes(token, character)) continue;
      if (token.kind == Kind::kBelowDirectories) {
        next[state] = 1;
        if (character == '/') Enter(state + 1, next);
      } else {
        Enter(token.kind == Kind::kStar || token.kind == Kind::kAll ? state : state + 1, next);
      }
    }
    states = std::move(next);
  };
  for (char32_t character : Characters(path)) {
    if (character == '/' && states[end]) match.ancestor = true;
    step(character);
    if (!match.ancestor && !Any(states)) return match;
  }
  match.path = states[end];
  step('/');
  match.below = Any(states);
  return match;
}

PathRules::PathRules(const std::vector<std::string>& lines) {
  for (const std::string& line : lines) {
    const bool exception = line.starts_with('!');
    rules_.push_back({PathPattern(std::string_view(line).substr(exception ? 1 : 0)), exception});
    exceptions_ = exceptions_ || exception;
  }
}

bool PathRules::Excludes(std::string_view path) const {
  bool excluded = false;
  for (const Rule& rule : rules_) {
    if (rule.exception != excluded) continue;  // it would change nothing
    const PathPattern::Match match = rule.pattern.Of(path);
    if (match.path || match.ancestor) excluded = !rule.exception;
  }
  return excluded;
}

}  // namespace layerstack
