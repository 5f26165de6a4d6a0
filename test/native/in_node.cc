// Makes a test program an addon of Node, whose zlib and OpenSSL it then has: it runs when it is loaded, and
// ends the process.
#include <cstdlib>

int TestMain();

extern "C" __attribute__((visibility("default"))) void* napi_register_module_v1(void*, void*) {
  std::_Exit(TestMain());
}
