"""Writes a tar with file capabilities and nanosecond times: caps.py OUT.tar"""

import io
import sys
import tarfile

# VFS_CAP_REVISION_2 | effective, permitted = cap_net_raw
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")

with tarfile.open(sys.argv[1], "w", format=tarfile.PAX_FORMAT) as tar:
    for name, xattr in (("capable", CAPABILITY), ("plain", None)):
        member = tarfile.TarInfo(name)
        member.size = 4
        member.mode = 0o755
        member.mtime = 1234567890.123456789
        if xattr:
            member.pax_headers = {
                "SCHILY.xattr.security.capability": xattr.decode("utf-8", "surrogateescape")
            }
        tar.addfile(member, io.BytesIO(b"file"))
