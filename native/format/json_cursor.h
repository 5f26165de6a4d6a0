// A strict reader of one untrusted JSON text (a line of a tar-split). It allocates at most the size of the
// text, and nesting is bounded. Every function skips white space first. It returns false if the text is
// something else; then the cursor must not be used any more.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace layerstack {

class JsonCursor {
 public:
  explicit JsonCursor(std::string_view text) : text_(text) {}

  bool Consume(char c);  // a punctuation mark; the cursor stays usable if it is another one
  bool AtEnd();
  // The decoded string, as UTF-8 (a lone surrogate becomes U+FFFD, as in Go). `value` points into the text
  // or, if the string has escapes, into `scratch`.
  bool String(std::string& scratch, std::string_view& value);
  // A whole number from 0 to 2^63-1.
  bool Natural(uint64_t& value);
  bool Null();  // the cursor stays usable if it is something else
  bool Skip();  // any value

 private:
  bool SkipValue(int depth);
  bool SkipMembers(char close, bool keys, int depth);
  bool Literal(std::string_view word);
  bool Unescape(std::string_view raw, std::string& out);
  void SkipSpace();

  std::string_view text_;
};

}  // namespace layerstack
