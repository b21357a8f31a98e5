# SPDX-License-Identifier: MIT
"""Just enough of the QCOW2 header to look into an image, or to change one."""

import struct

EXT_END = 0
EXT_BACKING_FORMAT = 0xE2792ACA
EXT_FEATURE_NAMES = 0x6803F857
EXT_BITMAPS = 0x23852875
EXT_CRYPTO = 0x0537BE77

INCOMPATIBLE = 72
COMPATIBLE = 80
AUTOCLEAR = 88


class Qcow2File:
    """The bytes of an image.  save() writes them back."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as f:
            self.data = bytearray(f.read())

    def save(self, path=None):
        with open(path or self.path, "wb") as f:
            f.write(self.data)

    def get(self, fmt, offset):
        return struct.unpack_from(">" + fmt, self.data, offset)[0]

    def put(self, fmt, offset, value):
        struct.pack_into(">" + fmt, self.data, offset, value)

    @property
    def version(self):
        return self.get("I", 4)

    @property
    def cluster(self):
        return 1 << self.get("I", 20)

    @property
    def header_length(self):
        return 72 if self.version == 2 else self.get("I", 100)

    def extensions(self):
        """(type, offset of the record, payload) in order, without END."""
        at = self.header_length
        end = self.get("Q", 8) or self.cluster
        while at + 8 <= end:
            kind, length = struct.unpack_from(">II", self.data, at)
            if kind == EXT_END:
                return
            yield kind, at, bytes(self.data[at + 8:at + 8 + length])
            at += 8 + (length + 7) // 8 * 8

    def extension(self, wanted):
        """(offset of the record, payload), or None."""
        for kind, at, payload in self.extensions():
            if kind == wanted:
                return at, payload
        return None

    def luks_area(self):
        """The bytes of the LUKS header and its key material."""
        _, payload = self.extension(EXT_CRYPTO)
        offset, length = struct.unpack(">QQ", payload)
        area = bytes(self.data[offset:offset + length])
        return area + bytes(length - len(area))
