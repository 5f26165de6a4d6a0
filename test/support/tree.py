"""Dumps a directory tree as one JSON object a line: every fact about a file that a layer can record.

Names are bytes: bytes that are not UTF-8 are written as \\xNN. Symbolic links are never followed.
"""

import hashlib
import json
import os
import stat
import sys

TYPES = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
    stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket",
}


def text(name):
    return name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def walk(root, relative):
    yield relative
    path = os.path.join(root, relative)
    if stat.S_ISDIR(os.lstat(path).st_mode):
        for name in sorted(os.listdir(path)):
            yield from walk(root, os.path.join(relative, name) if relative != b"." else name)


def main():
    root = os.fsencode(sys.argv[1])
    sys.setrecursionlimit(100000)
    first_name = {}
    for relative in walk(root, b"."):
        path = os.path.join(root, relative)
        info = os.lstat(path)
        kind = TYPES[stat.S_IFMT(info.st_mode)]
        entry = {
            "path": text(relative), "type": kind, "mode": oct(stat.S_IMODE(info.st_mode)),
            "uid": info.st_uid, "gid": info.st_gid, "mtime": str(info.st_mtime_ns),
        }
        if kind in ("char", "block"):
            entry["rdev"] = "%d:%d" % (os.major(info.st_rdev), os.minor(info.st_rdev))
        if kind == "symlink":
            entry["target"] = text(os.readlink(path))
        if kind == "file":
            entry["size"] = info.st_size
            entry["sha256"] = sha256(path)
        if kind != "directory" and info.st_nlink > 1:
            entry["inode"] = text(first_name.setdefault((info.st_dev, info.st_ino), relative))
        names = sorted(os.listxattr(path, follow_symlinks=False))
        if names:
            entry["xattrs"] = {
                name: os.getxattr(path, name, follow_symlinks=False).hex() for name in names
            }
        print(json.dumps(entry))


main()
