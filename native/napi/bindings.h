// One function per binding file. Each adds its functions and classes to `exports`.
#pragma once

#include <napi.h>

#include <functional>
#include <string>

namespace layerstack {

void InitFiles(Napi::Env env, Napi::Object exports);  // files_binding.cc: batch, locks, xattrs, remove
void InitStore(Napi::Env env, Napi::Object exports);  // store_binding.cc: entries of the store
void InitMounts(Napi::Env env,
                Napi::Object exports);  // mounts_binding.cc: mount, unmount, probes, init layer, flatten
void InitCodec(Napi::Env env, Napi::Object exports);     // codec_binding.cc: Decoder, LayerAssembler
void InitCompress(Napi::Env env, Napi::Object exports);  // compress_binding.cc: LayerCompressor
void InitLayer(Napi::Env env, Napi::Object exports);     // layer_binding.cc: LayerApply, indexArchive
void InitDiff(Napi::Env env, Napi::Object exports);      // diff_binding.cc: listChanges, LayerTar
void InitCopy(Napi::Env env, Napi::Object exports);      // copy_binding.cc: statInRoot, TreeUnpack, TreeCopy
void InitErofs(Napi::Env env, Napi::Object exports);     // erofs_binding.cc: ErofsImage, ErofsIndex
void InitSocket(Napi::Env env, Napi::Object exports);    // socket_binding.cc: listen, peers, datagrams

// What a step of `batch` does with mounts and init layers. Empty if `op` is another one.
std::function<void()> MountsCall(const std::string& op, const Napi::Object& step);

}  // namespace layerstack
