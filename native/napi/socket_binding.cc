// What only the service needs: sockets, and its event loop's priority. Only listening has a thread: the
// others do one or two quick system calls.
#include "napi/args.h"
#include "napi/async.h"
#include "napi/bindings.h"
#include "sys/local_socket.h"
#include "sys/priority.h"

namespace layerstack {

namespace {

Napi::Value Null(const Napi::CallbackInfo& info) { return info.Env().Null(); }

Napi::Value ListenUnixBinding(const Napi::CallbackInfo& info) {
  return Async<UniqueFd>(
      info.Env(),
      [path = BytesArg(info[0], "path"), mode = static_cast<mode_t>(IntArg(info[1], "mode")),
       gid = static_cast<gid_t>(IntArg(info[2], "gid")),
       backlog = static_cast<int>(IntArg(info[3], "backlog"))] {
        return ListenUnix(path, mode, gid, backlog);
      },
      [](Napi::Env env, UniqueFd& fd) -> Napi::Value { return Napi::Number::New(env, fd.release()); });
}

Napi::Value PeerBinding(const Napi::CallbackInfo& info) {
  const auto peer = PeerOf(static_cast<int>(IntArg(info[0], "fd")));
  if (!peer) return Null(info);
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("pid", static_cast<double>(peer->pid));
  object.Set("uid", static_cast<double>(peer->uid));
  object.Set("gid", static_cast<double>(peer->gid));
  return object;
}

Napi::Value DescribeSocketBinding(const Napi::CallbackInfo& info) {
  return Sync(info.Env(), [&]() -> Napi::Value {
    const auto socket = DescribeSocket(static_cast<int>(IntArg(info[0], "fd")));
    if (!socket) return Null(info);
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("family", socket->family);
    object.Set("stream", socket->stream);
    object.Set("listening", socket->listening);
    object.Set("loopback", socket->loopback);
    return object;
  });
}

Napi::Value SendDatagramBinding(const Napi::CallbackInfo& info) {
  return Sync(info.Env(), [&]() -> Napi::Value {
    return Napi::Boolean::New(info.Env(),
                              SendDatagram(BytesArg(info[0], "address"), BytesArg(info[1], "message")));
  });
}

Napi::Value PreferThisThreadBinding(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), PreferCallingThread(static_cast<int>(IntArg(info[0], "nice"))));
}

}  // namespace

void InitSocket(Napi::Env env, Napi::Object exports) {
  exports.Set("listenUnix", Napi::Function::New<ListenUnixBinding>(env, "listenUnix"));
  exports.Set("peerCredentials", Napi::Function::New<PeerBinding>(env, "peerCredentials"));
  exports.Set("describeSocket", Napi::Function::New<DescribeSocketBinding>(env, "describeSocket"));
  exports.Set("preferThisThread", Napi::Function::New<PreferThisThreadBinding>(env, "preferThisThread"));
  exports.Set("sendDatagram", Napi::Function::New<SendDatagramBinding>(env, "sendDatagram"));
}

}  // namespace layerstack
