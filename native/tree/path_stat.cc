#include "tree/path_stat.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include <string_view>
#include <vector>

#include "sys/failure.h"
#include "sys/resolve.h"

namespace layerstack {

namespace {

// The components of a path, the first one last.
void Push(std::string_view path, std::vector<std::string>& stack) {
  while (!path.empty()) {
    size_t slash = path.rfind('/');
    size_t start = slash == std::string_view::npos ? 0 : slash + 1;
    if (start < path.size()) stack.emplace_back(path.substr(start));
    path = path.substr(0, slash == std::string_view::npos ? 0 : slash);
  }
}

// Empty if `path` is not a link or does not exist.
std::string ReadLink(int root, const std::string& path) {
  char text[PATH_MAX];
  UniqueFd fd = OpenInRoot(root, path, O_PATH | O_NOFOLLOW);
  ssize_t length = fd ? Again<::readlinkat>(fd.get(), "", text, sizeof text) : -1;
  return length > 0 ? std::string(text, static_cast<size_t>(length)) : std::string();
}

}  // namespace

std::string CanonicalInRoot(int root_fd, const std::string& path) {
  std::string at;
  std::vector<std::string> todo;
  Push(path, todo);
  for (int links = 0; !todo.empty();) {
    std::string name = std::move(todo.back());
    todo.pop_back();
    if (name == ".") continue;
    if (name == "..") {
      at.resize(at.empty() ? 0 : at.rfind('/'));
      continue;
    }
    std::string next = at + "/" + name;
    std::string target = next.size() < PATH_MAX ? ReadLink(root_fd, next) : std::string();
    if (target.empty()) {
      at = std::move(next);
      continue;
    }
    if (++links > kMaxLinks) return path;
    if (target.front() == '/') at.clear();
    Push(target, todo);
  }
  return at.empty() ? "/" : at;
}

PathStat StatInRoot(const std::string& root, const std::string& path) {
  UniqueFd root_fd(Again<::open>(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root_fd) ThrowErrno(errno, "open", root);
  UniqueFd fd = OpenInRoot(root_fd.get(), path, O_PATH | O_NOFOLLOW);
  PathStat result;
  if (!fd || Again<::fstat>(fd.get(), &result.status) < 0) ThrowErrno(errno, "open", path);
  if (S_ISLNK(result.status.st_mode)) result.link_target = CanonicalInRoot(root_fd.get(), path);
  return result;
}

}  // namespace layerstack
