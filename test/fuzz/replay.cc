// Runs a fuzz target once with each file of its arguments, and prints their number.
#include <fstream>
#include <iterator>

#include "fuzz.h"

int main(int count, char** paths) {
  for (int i = 1; i < count; ++i) {
    std::ifstream in(paths[i], std::ios::binary);
    PROVE(in.is_open());
    std::string bytes{std::istreambuf_iterator<char>(in), {}};
    std::fprintf(stderr, "%s\n", paths[i]);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  }
  std::printf("%d inputs\n", count - 1);
}
