// Standard base64 with padding.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace layerstack {

void AppendBase64(std::string& out, const void* data, size_t length);
// Appends the decoded bytes. False, with `out` unspecified, if `text` is not exactly what AppendBase64
// writes.
bool DecodeBase64(std::string_view text, std::string& out);

}  // namespace layerstack
