"""Packs a directory with Python's tarfile: pack.py gnu|pax|ustar DIR OUT.tar"""

import sys
import tarfile

FORMATS = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}

with tarfile.open(
    sys.argv[3], "w", format=FORMATS[sys.argv[1]], encoding="utf-8", errors="surrogateescape"
) as tar:
    tar.add(sys.argv[2], arcname="./")
