#include "erofs/xattrs.h"

#include <string_view>

#include "erofs/format.h"
#include "sys/failure.h"

namespace layerstack::erofs {

namespace {

constexpr size_t kMostXattrBytes = UINT16_MAX * 4;

struct XattrPrefix {
  std::string_view text;
  uint8_t index;
  bool whole;  // the prefix is the whole name
};
constexpr XattrPrefix kXattrPrefixes[] = {{"user.", 1, false},
                                          {"system.posix_acl_access", 2, true},
                                          {"system.posix_acl_default", 3, true},
                                          {"trusted.", 4, false},
                                          {"security.", 6, false}};

const XattrPrefix* PrefixOf(const std::string& name) {
  for (const XattrPrefix& prefix : kXattrPrefixes) {
    if (prefix.whole ? name == prefix.text
                     : name.starts_with(prefix.text) && name.size() > prefix.text.size())
      return &prefix;
  }
  return nullptr;
}

}  // namespace

bool HasPrefix(const std::string& name) { return PrefixOf(name) != nullptr; }

std::string EncodeXattrs(const Xattrs& xattrs, const std::string& member) {
  std::string encoded;
  for (const auto& [name, value] : xattrs) {
    const XattrPrefix& prefix = *PrefixOf(name);
    const std::string suffix = name.substr(prefix.text.size());
    if (suffix.size() > UINT8_MAX || value.size() > UINT16_MAX)
      ThrowInput("ERR_LAYER_INVALID",
                 "'" + member + "' has the attribute '" + name.substr(0, 255) + "', which is too large");
    Put(encoded, suffix.size(), 1);
    Put(encoded, prefix.index, 1);
    Put(encoded, value.size(), 2);
    encoded += suffix + value;
    encoded.resize(RoundUp(encoded.size(), 4));
  }
  if (encoded.size() > kMostXattrBytes - 4)
    ThrowInput("ERR_LAYER_INVALID", "'" + member + "' has more attributes than an inode of EROFS can hold");
  return encoded;
}

}  // namespace layerstack::erofs
