#include "sys/local_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "sys/failure.h"

namespace layerstack {

namespace {

struct Address {
  sockaddr_un un = {};
  socklen_t length = 0;
};

Address AddressOf(const std::string& text, const char* syscall) {
  Address address;
  address.un.sun_family = AF_UNIX;
  // A path needs its terminator. An abstract name has a length instead.
  if (text.empty() || text.size() >= sizeof address.un.sun_path) ThrowErrno(ENAMETOOLONG, syscall, text);
  std::memcpy(address.un.sun_path, text.data(), text.size());
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size());
  if (text[0] == '@')
    address.un.sun_path[0] = '\0';
  else
    ++address.length;
  return address;
}

template <typename T>
bool Option(int fd, int name, T* value) {
  socklen_t size = sizeof *value;
  return ::getsockopt(fd, SOL_SOCKET, name, value, &size) == 0;
}

bool IsLoopback(int fd) {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return false;
  if (address.ss_family == AF_INET)
    return ntohl(reinterpret_cast<const sockaddr_in*>(&address)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
  if (address.ss_family != AF_INET6) return false;
  const in6_addr& ip = reinterpret_cast<const sockaddr_in6*>(&address)->sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&ip) || (IN6_IS_ADDR_V4MAPPED(&ip) && ip.s6_addr[12] == IN_LOOPBACKNET);
}

}  // namespace

UniqueFd ListenUnix(const std::string& path, mode_t mode, gid_t gid, int backlog) {
  if (path.empty() || path[0] != '/') ThrowErrno(EINVAL, "bind", path);
  const Address address = AddressOf(path, "bind");
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) ThrowErrno(errno, "socket", path);
  // The file takes its mode from the socket.
  if (Again<::fchmod>(fd.get(), 0600) != 0) ThrowErrno(errno, "fchmod", path);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.un), address.length) != 0)
    ThrowErrno(errno, "bind", path);
  const char* failed = nullptr;
  if (::lchown(path.c_str(), static_cast<uid_t>(-1), gid) != 0)
    failed = "lchown";
  else if (::chmod(path.c_str(), mode) != 0)
    failed = "chmod";
  else if (::listen(fd.get(), backlog) != 0)
    failed = "listen";
  if (failed) {
    const int errnum = errno;
    Again<::unlink>(path.c_str());
    ThrowErrno(errnum, failed, path);
  }
  return fd;
}

std::optional<PeerCredentials> PeerOf(int fd) {
  ucred peer = {};
  int domain = 0;
  if (!Option(fd, SO_DOMAIN, &domain) || domain != AF_UNIX || !Option(fd, SO_PEERCRED, &peer))
    return std::nullopt;
  // The kernel's answer for a socket that is not connected.
  if (peer.uid == static_cast<uid_t>(-1)) return std::nullopt;
  return PeerCredentials{peer.pid, peer.uid, peer.gid};
}

std::optional<SocketInfo> DescribeSocket(int fd) {
  int domain = 0;
  int type = 0;
  int listening = 0;
  if (!Option(fd, SO_DOMAIN, &domain)) {
    if (errno == ENOTSOCK) return std::nullopt;
    ThrowErrno(errno, "getsockopt");
  }
  if (!Option(fd, SO_TYPE, &type) || !Option(fd, SO_ACCEPTCONN, &listening)) ThrowErrno(errno, "getsockopt");
  const char* family = domain == AF_UNIX    ? "unix"
                       : domain == AF_INET  ? "inet"
                       : domain == AF_INET6 ? "inet6"
                                            : "other";
  return SocketInfo{family, type == SOCK_STREAM, listening != 0, IsLoopback(fd)};
}

bool SendDatagram(const std::string& name, const std::string& message) {
  const Address address = AddressOf(name, "sendto");
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) ThrowErrno(errno, "socket", name);
  if (Retry([&] {
        return ::sendto(fd.get(), message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                        reinterpret_cast<const sockaddr*>(&address.un), address.length);
      }) >= 0)
    return true;
  if (errno == EAGAIN || errno == ENOBUFS) return false;
  ThrowErrno(errno, "sendto", name);
}

}  // namespace layerstack
