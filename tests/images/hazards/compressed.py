# SPDX-License-Identifier: MIT
"""Compressed clusters: streams and descriptors that lie."""
import struct
import zlib

from builder import COMPRESSED, Qcow2
from hazards.case import MAP, Case, accepted, unreadable, zeroes
from streams import deflate, deflate_endless, zstd_repeat, zstd_skippable

MIB = 1 << 20
CLUSTER = 65536
CONTENT = b"c" * CLUSTER
REST = zeroes(MIB - CLUSTER)


def packed(stream, sectors=None, length=None):
    """A disk whose first cluster is the deflate stream `stream`."""
    return Qcow2(MIB).compressed(0, stream, sectors).build(length)


def zstd(stream):
    """The same with a zstd stream."""
    return Qcow2(MIB).set(incompatible=8, compression_type=1).compressed(
        0, stream).build()


def descriptor(entry, cluster_bits=16):
    """A disk whose first entry is a compressed descriptor of the case's."""
    return Qcow2(MIB, cluster_bits=cluster_bits).map(
        0, COMPRESSED | entry).build()


def deflate_streams():
    wide = bytes(i * 7 & 0xFF for i in range(251)) * 40
    far = wide[:9000] + b"-" * 20000 + wide[:9000]
    far = far.ljust(CLUSTER, b"e")
    stored = b"\x01" + struct.pack("<HH", 65535, 1) + b"s" * 65535
    return [
        unreadable("deflate-garbage", "The stream is no deflate.",
                   packed(b"\xff" * 512), "compressed cluster", "deflate")
        .run(MAP, stdout=['"compressed": true'])
        .fails("compare image image", "compressed cluster", exit_code=4),
        unreadable("deflate-short",
                   "The stream ends before the cluster is full.",
                   packed(deflate(CONTENT[:-1])),
                   "compressed cluster", "65535", "65536"),
        unreadable("deflate-empty", "The stream gives nothing at all.",
                   packed(deflate(b"")), "compressed cluster", "65536"),
        accepted("deflate-long",
                 "The stream goes on behind the end of the cluster.",
                 packed(deflate(CONTENT + b"x" * 4096)), CONTENT + REST),
        accepted("deflate-bomb",
                 "The stream would give 20 MiB for a cluster of 64 KiB.",
                 packed(deflate_endless(ord("c"), 2 * CLUSTER - 512)),
                 CONTENT + REST),
        accepted("deflate-trailing-garbage",
                 "The stream's last sector goes on with other bytes.",
                 packed(deflate(CONTENT) + b"\xff" * 300), CONTENT + REST),
        accepted("deflate-far-distances",
                 "The stream refers back further than QEMU's own window.",
                 packed(deflate(far, (1, 251, 29000))), far + REST),
        unreadable("deflate-zlib-header",
                   "The stream is wrapped as a zlib stream.",
                   packed(b"\x78\x9c" + deflate(CONTENT)
                          + struct.pack(">I", zlib.adler32(CONTENT))),
                   "compressed cluster"),
        unreadable("deflate-stored-length",
                   "A stored block's length does not match its complement.",
                   packed(stored), "compressed cluster"),
        unreadable("deflate-distance-before-start",
                   "The stream refers to bytes before its start.",
                   packed(b"\x03\x02\x00" + b"\0" * 61), "compressed cluster"),
    ]


def descriptors():
    whole = packed(deflate(CONTENT))
    tail = deflate(CONTENT)
    crossing = Qcow2(MIB, cluster_bits=9)
    crossing.entry_offset(0)
    at = crossing.end + 500
    stream = deflate(bytes(range(256)) * 2, (256,))
    crossing.put(at, stream).map(0, crossing.descriptor(at, len(stream)))
    return [
        unreadable("compressed-past-end",
                   "The stream lies past the end of the file.",
                   descriptor(1 << 40), "compressed cluster"),
        unreadable("compressed-offset-largest",
                   "The stream lies at the largest offset.",
                   descriptor((1 << 54) - 1), "compressed cluster"),
        unreadable("compressed-all-ones",
                   "Offset and length of the stream are the largest.",
                   descriptor((1 << 62) - 1), "compressed cluster"),
        unreadable("compressed-all-ones-512",
                   "The same with clusters of 512 bytes.",
                   descriptor((1 << 62) - 1, 9), "L2 entry", "ompressed"),
        unreadable("compressed-high-offset-bits",
                   "Bits of the offset are set that no offset can have.",
                   descriptor(1 << 57, 12), "L2 entry", "ompressed"),
        accepted("compressed-sectors-largest",
                 "The descriptor claims two clusters for a short stream.",
                 packed(deflate(CONTENT), 255), CONTENT + REST),
        accepted("compressed-cut-inside-stream-sector",
                 "The file ends with the stream, inside its last sector.",
                 whole, CONTENT + REST),
        unreadable("compressed-cut", "The file ends inside the stream.",
                   whole[:-len(tail) + 8], "compressed cluster"),
        accepted("compressed-crossing",
                 "The stream crosses into the next host cluster.",
                 crossing.build(),
                 bytes(range(256)) * 2 + zeroes(MIB - 512)),
        unreadable("compressed-span-too-short",
                   "The descriptor gives one sector to a longer stream.",
                   packed(deflate(noise()), 0), "compressed cluster"),
        accepted("compressed-shared",
                 "Every guest cluster is one and the same stream.",
                 shared(), CONTENT * 16),
        Case("compressed-copied", "A compressed entry is marked as copied.",
             marked_copied()).reads(CONTENT + REST),
    ]


def shared():
    image = Qcow2(MIB).compressed(0, deflate(CONTENT))
    entry = image.descriptor(image.end - CLUSTER, len(deflate(CONTENT)))
    for guest_cluster in range(1, 16):
        image.map(guest_cluster, entry)
    return image.build()


def noise():
    """Bytes that do not pack well, the same every time."""
    value, out = 1, bytearray()
    while len(out) < 1400:
        value = value * 1103515245 + 12345 & 0x7FFFFFFF
        out.append(value >> 16 & 0xFF)
    return bytes(out).ljust(CLUSTER, b"n")


def marked_copied():
    image = Qcow2(MIB).compressed(0, deflate(CONTENT))
    entry = image.descriptor(image.end - CLUSTER, len(deflate(CONTENT)))
    return image.map(0, entry | 1 << 63).build()


def zstd_streams():
    byte = ord("c")
    whole = zstd_repeat(byte, CLUSTER)
    halves = zstd_repeat(byte, CLUSTER // 2) * 2
    needs = ["zstd"]
    return [
        unreadable("zstd-garbage", "The stream is no zstd.",
                   zstd(b"\xff" * 512), "compressed cluster", "zstd",
                   needs=needs),
        unreadable("zstd-long", "The frame is longer than the cluster.",
                   zstd(zstd_repeat(byte, CLUSTER + 1)),
                   "compressed cluster", "65536", needs=needs),
        unreadable("zstd-short", "The frame is shorter than the cluster.",
                   zstd(zstd_repeat(byte, CLUSTER - 1)),
                   "compressed cluster", "zstd", needs=needs),
        unreadable("zstd-truncated", "The frame lacks its last block.",
                   zstd(whole[:-4]), "compressed cluster", needs=needs),
        unreadable("zstd-bomb", "The frame repeats a byte for 16 MiB.",
                   zstd(zstd_repeat(byte, 16 * MIB)),
                   "compressed cluster", "65536", needs=needs),
        unreadable("zstd-false-size",
                   "The frame says 4 GiB and holds one cluster.",
                   zstd(zstd_repeat(byte, CLUSTER, 0x30, 0xFFFFFFFF)),
                   "compressed cluster", needs=needs),
        accepted("zstd-window-2-gib",
                 "The frame asks for a 2 GiB window, which nobody must make.",
                 zstd(zstd_repeat(byte, CLUSTER, 0xA8)), CONTENT + REST,
                 needs=needs),
        unreadable("zstd-window-largest",
                   "The frame asks for the largest window there is.",
                   zstd(zstd_repeat(byte, CLUSTER, 0xFF)),
                   "compressed cluster", needs=needs),
        unreadable("zstd-skippable-only",
                   "All the stream's frames are to be skipped.",
                   zstd(zstd_skippable(b"skip me") * 20),
                   "compressed cluster", needs=needs),
        unreadable("zstd-skippable-length",
                   "A frame to be skipped has the largest length.",
                   zstd(struct.pack("<II", 0x184D2A50, 0xFFFFFFFF) + whole),
                   "compressed cluster", needs=needs),
        accepted("zstd-skippable-first", "A frame to be skipped comes first.",
                 zstd(zstd_skippable(b"skip me") + whole), CONTENT + REST,
                 needs=needs),
        accepted("zstd-two-frames", "Two frames make one cluster.",
                 zstd(halves), CONTENT + REST, needs=needs),
        accepted("zstd-empty-frames", "Frames of nothing come first.",
                 zstd(zstd_empty() * 50 + whole), CONTENT + REST,
                 needs=needs),
        accepted("zstd-trailing-garbage",
                 "The stream's last sector goes on with other bytes.",
                 zstd(whole + b"\xff" * 300), CONTENT + REST, needs=needs),
        unreadable("zstd-deflate-inside",
                   "The image says zstd, the stream is deflate.",
                   zstd(deflate(CONTENT)), "compressed cluster", needs=needs),
    ]


def zstd_empty():
    """A frame that holds one empty raw block."""
    return b"\x28\xb5\x2f\xfd\x00\x30\x01\x00\x00"


def cases():
    return deflate_streams() + descriptors() + zstd_streams()
