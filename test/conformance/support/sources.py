"""Creates the directories that the corpus packs: sources.py DIR creates DIR/basic and DIR/wide.

`basic` has features that every tar format supports. `wide` adds features that only some support: long and
non-UTF-8 names, large ids, nanoseconds, xattrs, capabilities, holes.
"""

import os
import sys

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def write(path, content=b"content\n", mode=0o644, owner=(0, 0)):
    with open(path, "wb") as file:
        file.write(content)
    os.chown(path, *owner)
    os.chmod(path, mode)


def basic(root):
    os.makedirs(root + "/dir/sub")
    os.makedirs(root + "/empty")
    write(root + "/file")
    write(root + "/zero", b"")
    write(root + "/block", b"b" * 512)
    write(root + "/odd", b"o" * 1025)
    write(root + "/big", bytes(range(256)) * 4096)
    write(root + "/dir/owned", owner=(1000, 1001))
    write(root + "/dir/setuid", mode=0o4755, owner=(12, 34))
    write(root + "/dir/setgid", mode=0o2711)
    write(root + "/dir/nothing", mode=0)
    os.chmod(root + "/empty", 0o1777)
    os.link(root + "/file", root + "/dir/hard")
    os.link(root + "/file", root + "/dir/sub/hard2")
    os.symlink("file", root + "/soft")
    os.symlink("/etc/passwd", root + "/dir/absolute")
    os.symlink("../../../up", root + "/dir/sub/up")
    os.mkfifo(root + "/fifo", 0o600)
    os.mknod(root + "/dir/char", 0o20620, os.makedev(5, 1))
    os.mknod(root + "/dir/device", 0o60660, os.makedev(8, 17))
    write(root + "/dir/sub/spaces and 'quotes'")


def wide(root):
    basic(root)
    long = "n" * 120
    os.makedirs("%s/%s/%s/%s" % (root, long, long, long))
    write("%s/%s/%s/%s/%s" % (root, long, long, long, long))
    os.link("%s/%s/%s/%s/%s" % (root, long, long, long, long), root + "/hard-to-long")
    os.symlink(long * 3, root + "/soft-to-long")
    write(root + "/ünïcödé")
    write(os.fsencode(root) + b"/latin-\xe4\xf6")
    os.mkdir(os.fsencode(root) + b"/\xff\xfe")
    write(root + "/<&>\u2028")
    write(root + "/bigids", owner=(3000000, 4000000000))
    write(root + "/xattrs")
    os.setxattr(root + "/xattrs", "user.text", b"value")
    os.setxattr(root + "/xattrs", "user.binary", bytes(range(1, 40)))
    os.setxattr(root + "/dir", "trusted.note", b"on a directory")
    write(root + "/capable", mode=0o755)
    os.setxattr(root + "/capable", "security.capability", CAPABILITY)


def holes(root):
    os.makedirs(root)
    with open(root + "/sparse", "wb") as file:
        for offset in (0, 1 << 20, 3 << 20):
            file.seek(offset)
            file.write(b"data at %d" % offset)
        file.truncate(4 << 20)
    with open(root + "/hole", "wb") as file:
        file.truncate(1 << 20)
    with open(root + "/many", "wb") as file:
        for index in range(60):
            file.seek(index * 65536)
            file.write(b"piece %d" % index)
    write(root + "/whole")


def set_times(root, nanoseconds):
    """Gives every entry a different time, content before its directory."""
    entries = []
    for parent, directories, files in os.walk(os.fsencode(root)):
        entries += [os.path.join(parent, name) for name in directories + files]
    for index, path in enumerate(sorted(entries, reverse=True)):
        time = (1500000000 + index) * 10**9 + (123456789 + index if nanoseconds else 0)
        os.utime(path, ns=(time, time), follow_symlinks=False)
    os.utime(root, (1500000000, 1500000000))


for make in (basic, wide, holes):
    path = "%s/%s" % (sys.argv[1], make.__name__)
    make(path)
    set_times(path, make is wide)
