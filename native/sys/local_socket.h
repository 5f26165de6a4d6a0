// Sockets as a service needs them and node:net does not have them: a listening unix socket whose mode and group are
// right before anyone can connect, who is at the other end of a connection, what an inherited fd is, and the
// datagram of sd_notify(3).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "sys/fd.h"

namespace layerstack {

// A unix stream socket that listens at `path` (at most 107 bytes, nothing there yet: else EADDRINUSE), non-blocking. Until
// mode and group are set it does not listen, so that nobody can connect meanwhile. `gid` -1: the process's group.
// After a failure nothing is left at `path`. Call it on a pool thread, whose umask is 0.
UniqueFd ListenUnix(const std::string& path, mode_t mode, gid_t gid, int backlog);

struct PeerCredentials {
  pid_t pid;
  uid_t uid;
  gid_t gid;
};

// Of whoever connected (SO_PEERCRED: as it was at connect(2)). Nothing where `fd` is no connected unix socket.
std::optional<PeerCredentials> PeerOf(int fd);

struct SocketInfo {
  const char* family;  // "unix", "inet", "inet6" or "other"
  bool stream;
  bool listening;
  bool loopback;  // an IP address that only this machine reaches
};

// Nothing where `fd` is open but no socket. Throws Failure (EBADF) where it is not open.
std::optional<SocketInfo> DescribeSocket(int fd);

// Sends one datagram to a unix socket, a path or (`@name`) an abstract name. Never waits: false where the receiver's
// queue is full. Throws Failure where there is no receiver.
bool SendDatagram(const std::string& address, const std::string& message);

}  // namespace layerstack
