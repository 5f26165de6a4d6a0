// The operations on sockets that a service needs and node:net lacks: a listening unix socket whose mode and
// group are right before anyone can connect, the peer's credentials, the kind of an inherited fd, and the
// datagram of sd_notify(3).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "sys/fd.h"

namespace layerstack {

// A non-blocking unix stream socket that listens at `path`, which has at most 107 bytes. EADDRINUSE if
// something is there. It listens only when mode and group are set, so that no client can connect before.
// `gid` -1: the process's group. Leaves nothing at `path` after a failure. Call it on a pool thread, whose
// umask is 0.
UniqueFd ListenUnix(const std::string& path, mode_t mode, gid_t gid, int backlog);

struct PeerCredentials {
  pid_t pid;
  uid_t uid;
  gid_t gid;
};

// The credentials of the peer at its connect(2) (SO_PEERCRED). Nothing if `fd` is not a connected unix
// socket.
std::optional<PeerCredentials> PeerOf(int fd);

struct SocketInfo {
  const char* family;  // "unix", "inet", "inet6" or "other"
  bool stream;
  bool listening;
  bool loopback;  // an IP address that only this machine reaches
};

// Nothing if `fd` is open but not a socket. Throws EBADF if it is not open.
std::optional<SocketInfo> DescribeSocket(int fd);

// Sends one datagram to a unix socket, named by a path or (`@name`) an abstract name. Never waits: returns
// false if the receiver's queue is full. Throws Failure if the receiver does not exist.
bool SendDatagram(const std::string& address, const std::string& message);

}  // namespace layerstack
