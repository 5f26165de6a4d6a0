// Tars for the tests: members one by one, and random ones whose names and links collide.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <random>
#include <string>

#include "format/tar_header.h"

using namespace layerstack;
using namespace std::string_literals;

using Random = std::mt19937_64;

inline uint64_t Below(Random& random, uint64_t bound) { return random() % bound; }

template <typename List>
auto Pick(Random& random, const List& list) {
  return list[Below(random, std::size(list))];
}

inline void Seal(char* block) {
  std::memset(block + 148, ' ', 8);
  unsigned sum = 0;
  for (size_t i = 0; i < kTarBlock; ++i) sum += static_cast<unsigned char>(block[i]);
  std::snprintf(block + 148, 8, "%06o", sum);
}

inline std::string Padded(std::string content) {
  content.resize((content.size() + kTarBlock - 1) / kTarBlock * kTarBlock);
  return content;
}

inline std::string Header(const std::string& name, char type, const std::string& link, size_t size,
                          unsigned mode = 0644) {
  std::string block(kTarBlock, '\0');
  name.copy(block.data(), 100);
  std::snprintf(&block[100], 8, "%07o", mode);
  std::snprintf(&block[108], 8, "%07o", 0u);
  std::snprintf(&block[116], 8, "%07o", 0u);
  std::snprintf(&block[124], 12, "%011zo", size);
  std::snprintf(&block[136], 12, "%011o", 1'600'000'000u);
  block[156] = type;
  link.copy(&block[157], 100);
  std::memcpy(&block[257], "ustar\00000", 8);
  Seal(block.data());
  return block;
}

inline std::string Record(const std::string& key, const std::string& value) {
  size_t length = key.size() + value.size() + 3;
  while (length != key.size() + value.size() + 3 + std::to_string(length).size())
    length = key.size() + value.size() + 3 + std::to_string(length).size();
  return std::to_string(length) + " " + key + "=" + value + "\n";
}

inline std::string Pax(const std::string& records) {
  return Header("PaxHeaders/x", 'x', "", records.size()) + Padded(records);
}

// One member out of few names, so that most collide with another.
inline std::string RandomMember(Random& random) {
  static const std::array<std::string, 18> names = {
      "a",    "a/", "a/b", "a/b/c", "a/b/",   "b",     "b/a",     "b/c/d",        "./a",
      "/a/b", "l",  "l/a", "l/m/b", "a/../b", ".wh.z", "b/.wh.a", ".wh..wh..opq", "."};
  static const std::array<std::string, 10> links = {"a", "b", "a/b", "/b",           "../a",
                                                    "l", "/", ".",   "../../canary", "b/../a"};
  std::string name = Pick(random, names);
  std::string link = Pick(random, links);
  std::string content(Below(random, 4) == 0 ? 0 : Below(random, 1500),
                      static_cast<char>('a' + Below(random, 26)));
  switch (Below(random, 13)) {
    case 12: return Header(name, 'g', "", Record("comment", "x").size()) + Padded(Record("comment", "x"));
    case 0:
    case 1: return Header(name, '5', "", 0, 0755);
    case 2: return Header(name, '2', link, 0);
    case 3: return Header(name, '1', link, Below(random, 2) * 700);
    case 4: return Header(name, '6', "", 0);
    case 5: {
      std::string records =
          Record("path", name) + Record("mtime", "-1.5") + Record("SCHILY.xattr.trusted.t", "v\0w"s);
      return Pax(records) + Header("short", '0', "", content.size()) + Padded(content);
    }
    case 6: {
      std::string records = Record("GNU.sparse.major", "1") + Record("GNU.sparse.minor", "0") +
                            Record("GNU.sparse.name", name) + Record("GNU.sparse.realsize", "100000");
      std::string map = Padded("1\n5000\n" + std::to_string(content.size()) + "\n");
      return Pax(records) + Header("sparse", '0', "", map.size() + content.size()) + Padded(map + content);
    }
    case 7:
      return Header("././@LongLink", 'L', "", name.size() + 1) + Padded(name + '\0') +
             Header("x", '0', "", content.size()) + Padded(content);
    default: return Header(name, '0', "", content.size(), Below(random, 2) ? 0644 : 04755) + Padded(content);
  }
}

inline std::string RandomTar(Random& random) {
  std::string tar;
  for (uint64_t left = 1 + Below(random, 14); left > 0; --left) tar += RandomMember(random);
  tar.append(Below(random, 4) * kTarBlock, '\0');
  return tar;
}

inline void Mutate(Random& random, std::string& tar) {
  static const std::array<size_t, 12> fields = {0, 1, 100, 108, 124, 130, 135, 136, 156, 157, 257, 345};
  static const std::array<char, 12> bytes = {0, '0', '7', '9', ' ', '/', '.', '\x80', '\xff', 'S', 'x', 'L'};
  for (uint64_t left = 1 + Below(random, 3); left > 0 && tar.size() >= kTarBlock; --left) {
    size_t block = Below(random, tar.size() / kTarBlock) * kTarBlock;
    switch (Below(random, 5)) {
      case 0: tar[Below(random, tar.size())] ^= static_cast<char>(1 << Below(random, 8)); break;
      case 1:  // a changed header that is still taken for one
        tar[block + Pick(random, fields)] = Pick(random, bytes);
        Seal(&tar[block]);
        break;
      case 2: tar.resize(Below(random, tar.size())); break;
      case 3:
        tar.insert(block, tar.substr(Below(random, tar.size() / kTarBlock) * kTarBlock, kTarBlock));
        break;
      default: tar.erase(block, kTarBlock);
    }
  }
}
