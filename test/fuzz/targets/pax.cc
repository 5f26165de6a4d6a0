// PAX records, and the numbers and times in them. Records that are written again are read as the same.
#include "format/pax.h"

#include "fuzz.h"
#include "tar_support.h"

using namespace layerstack::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = Text(data, size);
  ParseTarNumber(text.substr(0, 12));
  std::optional<PaxRecords> records = PaxRecords::Parse(text);
  if (!records) return 0;
  std::string again;
  for (const auto& [key, value] : records->All()) {
    again += Record(key, value);
    PROVE(records->Get(key) == value);
    std::optional<int64_t> number = ParseDecimal(value);
    if (number) PROVE(ParseDecimal(std::to_string(*number)) == number);
    std::optional<TarTime> time = ParsePaxTime(value);
    if (time) PROVE(time->nanoseconds >= 0 && time->nanoseconds < 1'000'000'000);
    if (number && time) PROVE(time->seconds == *number && time->nanoseconds == 0);
  }
  std::optional<PaxRecords> reread = PaxRecords::Parse(again);
  PROVE(reread && reread->All() == records->All());
  return 0;
}
