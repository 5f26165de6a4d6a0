// The JSON cursor. A string that is written as Go does is read as the same, and what reads as a string or a
// number is also skipped as one value.
#include "format/go_json.h"
#include "format/json_cursor.h"
#include "fuzz.h"

using namespace layerstack;
using namespace layerstack::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = Text(data, size);
  bool skips = JsonCursor(text).Skip();
  std::string scratch;
  std::string_view value;
  if (JsonCursor(text).String(scratch, value)) {
    PROVE(skips);
    PROVE(value.size() <= text.size());
    if (ValidUtf8(value)) {
      std::string quoted;
      AppendGoJsonString(quoted, value);
      std::string scratch_again;
      std::string_view again;
      JsonCursor cursor(quoted);
      PROVE(cursor.String(scratch_again, again) && cursor.AtEnd());
      PROVE(again == value);
    }
  }
  uint64_t number = 0;
  if (JsonCursor(text).Natural(number)) {
    PROVE(skips);
    PROVE(number <= INT64_MAX);
    JsonCursor cursor(text);
    PROVE(cursor.Skip());
  }
  if (JsonCursor(text).Null()) PROVE(skips);
  return 0;
}
