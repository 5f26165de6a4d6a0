// Patterns of paths, as .dockerignore has them: Go's filepath.Match, and `**` for any number of directories.
// Mirrors moby/moby: pkg/fileutils/fileutils.go at v20.10. A path is matched in one pass over its characters,
// so the time is linear in the path whatever the pattern is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace layerstack {

class PathPattern {
 public:
  // Clean, without a leading slash. The caller has checked it: a class without an end is an ordinary `[`.
  explicit PathPattern(std::string_view pattern);

  struct Match {
    bool path = false;      // the path matches
    bool ancestor = false;  // a directory above it matches
    bool below = false;     // a path below it may match
  };
  Match Of(std::string_view path) const;

 private:
  struct Token {
    enum class Kind { kOne, kAny, kClass, kStar, kDirectories, kBelowDirectories, kAll } kind;
    char32_t character = 0;  // of kOne
    bool negated = false;    // of kClass
    std::vector<std::pair<char32_t, char32_t>> ranges = {};
  };
  static bool Takes(const Token& token, char32_t character);
  void ReadClass(const std::u32string& text, size_t* at);
  void Enter(size_t state, std::vector<char>& states) const;

  std::vector<Token> tokens_;
};

// The rules of a .dockerignore: the last one that matches a path, or a directory above it, decides.
class PathRules {
 public:
  PathRules() = default;
  // Each line is a pattern, or `!` and a pattern that takes paths back in.
  explicit PathRules(const std::vector<std::string>& lines);

  bool Excludes(std::string_view path) const;
  // Whether a path below an excluded directory may be taken back in.
  bool HasExceptions() const { return exceptions_; }

 private:
  struct Rule {
    PathPattern pattern;
    bool exception;
  };
  std::vector<Rule> rules_;
  bool exceptions_ = false;
};

}  // namespace layerstack
