// JSON strings byte for byte as Go's encoding/json writes them (HTML escaping on), in the form before
// Go 1.22, which dockerd uses for tar-split: \b and \f are \u0008 and \u000c.
#pragma once

#include <string>
#include <string_view>

namespace layerstack {

// The same as Go's utf8.ValidString: no surrogates, no overlong forms, nothing above U+10FFFF.
bool ValidUtf8(std::string_view text);
// Appends `text` quoted and escaped. It must be valid UTF-8.
void AppendGoJsonString(std::string& out, std::string_view text);

}  // namespace layerstack
