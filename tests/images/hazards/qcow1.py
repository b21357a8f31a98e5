# SPDX-License-Identifier: MIT
"""QCOW version 1: no checks but those made here."""
from builder import Qcow1
from hazards.case import (CONVERT, INFO, MAP, Case, accepted, refused,
                          unreadable, zeroes)
from streams import deflate

SIZE = 1 << 16
CLUSTER = 4096


def forced(**fields):
    """An empty disk of 64 KiB with header fields forced."""
    return Qcow1(SIZE).set(**fields).build()


def named(length):
    image = Qcow1(SIZE)
    image.backing = b"n" * length
    return image.build()


def numbers():
    cases = [
        refused(f"v1-{name}-{value}", f"{field} is {value}.",
                forced(**{field: value}), f"{words} {value}", str(limit))
        for name, field, words, value, limit in [
            ("cluster-bits", "cluster_bits", "cluster_bits is", 8, 9),
            ("cluster-bits", "cluster_bits", "cluster_bits is", 17, 16),
            ("cluster-bits", "cluster_bits", "cluster_bits is", 255, 16),
            ("l2-bits", "l2_bits", "l2_bits is", 5, 6),
            ("l2-bits", "l2_bits", "l2_bits is", 14, 13),
            ("l2-bits", "l2_bits", "l2_bits is", 255, 13),
            ("crypt-method", "crypt_method", "encryption method", 2, 1),
        ]
    ]
    return cases + [
        refused(f"v1-size-{name}", f"The size is {value} bytes.",
                forced(size=value), str(value) + " bytes")
        for name, value in [("0", 0), ("1", 1), ("2-63", 1 << 63),
                            ("all-ones", (1 << 64) - 1)]
    ] + [
        Case("v1-size-1000", "The size is no multiple of 512.",
             forced(size=1000))
        .run(INFO, stdout=["(512 bytes)"]).reads(zeroes(512)),
        refused("v1-l1-over-limit",
                "The L1 table would have 2^30 entries.",
                forced(size=1 << 45, cluster_bits=9, l2_bits=6),
                "1073741824 L1 entries", str((1 << 28) - 1)),
        Case("v1-l1-1-gib",
             "The L1 table would take 1 GiB, the file has 200 bytes.",
             Qcow1(SIZE).set(size=1 << 42, cluster_bits=9,
                             l2_bits=6).build(200))
        .run(INFO, memory=32)
        .run(MAP, stdout=['"length": 4398046511104'], memory=32),
        Case("v1-crypt-method-aes", "Nobody gave a passphrase.",
             forced(crypt_method=1))
        .run(INFO, stdout=["encrypted: yes"]).fails(CONVERT, "key-secret"),
        refused("v1-header-truncated", "The file ends inside the header.",
                forced()[:30], "cluster_bits is 0", "9"),
    ]


def tables():
    image = Qcow1(SIZE)
    content = b"v" * CLUSTER
    rest = zeroes(SIZE - CLUSTER)
    far = Qcow1(SIZE)
    far.l1[0] = 1 << 40
    top = Qcow1(SIZE)
    top.l1[0] = (1 << 64) - 512
    odd = Qcow1(SIZE).data(0, content)
    return [
        accepted("v1-clusters-apart",
                 "Two neighbours on the disk lie apart in the file.",
                 Qcow1(SIZE).data(1, b"w" * CLUSTER).data(0, content).build(),
                 content + b"w" * CLUSTER + zeroes(SIZE - 2 * CLUSTER)),
        Case("v1-snapshot", "Somebody asks for a snapshot, and there are none.",
             Qcow1(SIZE).build())
        .fails("convert -l x -O raw image out.raw", "version 1",
               "no snapshots"),
        accepted("v1-l1-past-end", "The L1 table lies past the end: zeroes.",
                 forced(l1_offset=1 << 40), zeroes(SIZE)),
        refused("v1-l1-offset-overflow",
                "The L1 table ends past the largest file offset.",
                forced(l1_offset=(1 << 63) - 4),
                "L1 table of 8 bytes at offset", str((1 << 63) - 4)),
        refused("v1-l1-offset-all-ones",
                "The L1 table starts past the largest file offset.",
                forced(l1_offset=(1 << 64) - 1),
                "L1 table of 8 bytes at offset", str((1 << 64) - 1)),
        accepted("v1-l1-offset-odd", "The L1 table starts at an odd offset.",
                 odd_l1(), content + rest),
        accepted("v1-l2-table-past-end",
                 "An L2 table lies past the end: zeroes.",
                 far.build(), zeroes(SIZE)),
        unreadable("v1-l2-table-all-ones",
                   "An L2 table lies at the largest offset of 64 bits.",
                   top.build(), "L1 entry 0xfffffffffffffe00", "offset"),
        unreadable("v1-l2-unaligned", "A cluster starts inside a sector.",
                   image.map(0, 0x2001).build(),
                   "L2 entry 0x0000000000002001", "512"),
        accepted("v1-l2-past-end", "A cluster lies past the end: zeroes.",
                 Qcow1(SIZE).map(0, 1 << 40).build(), zeroes(SIZE)),
        accepted("v1-l2-largest",
                 "A cluster lies at the largest offset: zeroes.",
                 Qcow1(SIZE).map(0, (1 << 62)).build(), zeroes(SIZE)),
        accepted("v1-good", "A disk as it should be.",
                 odd.build(), content + rest),
    ]


def odd_l1():
    image = Qcow1(SIZE).data(0, b"v" * CLUSTER)
    image.header["l1_offset"] = 49
    return image.build()


def compressed():
    content = b"z" * CLUSTER
    rest = zeroes(SIZE - CLUSTER)
    return [
        accepted("v1-deflate-good", "A compressed cluster as it should be.",
                 Qcow1(SIZE).compressed(0, deflate(content)).build(),
                 content + rest),
        unreadable("v1-deflate-garbage", "The stream is no deflate.",
                   Qcow1(SIZE).compressed(0, b"\xff" * 40).build(),
                   "compressed cluster"),
        unreadable("v1-deflate-short",
                   "The stream ends before the cluster is full.",
                   Qcow1(SIZE).compressed(0, deflate(content[:-1])).build(),
                   "compressed cluster", "4095", "4096"),
        unreadable("v1-compressed-no-bytes", "The stream has no bytes.",
                   Qcow1(SIZE).map(0, 1 << 63 | 0x2000).build(),
                   "ompressed", "0 bytes"),
        unreadable("v1-compressed-all-ones",
                   "Offset and length of the stream are the largest.",
                   Qcow1(SIZE).map(0, (1 << 64) - 1).build(),
                   "compressed cluster"),
    ]


def backing():
    loop = Qcow1(SIZE)
    loop.backing = b"image"
    unrecorded = Qcow1(SIZE)
    unrecorded.backing = b"base"
    return [
        refused("v1-backing-name-1024",
                "The backing file's name is longer than the limit.",
                named(1024), "backing file name has 1024 bytes", "1023"),
        refused("v1-backing-name-all-ones",
                "The backing file's name has the largest length.",
                forced(backing_offset=48, backing_bytes=0xFFFFFFFF),
                "backing file name has 4294967295 bytes", "1023"),
        refused("v1-backing-offset-all-ones",
                "The backing file's name starts at the largest offset.",
                forced(backing_offset=(1 << 64) - 1, backing_bytes=100),
                "backing file name of 100 bytes", str((1 << 64) - 1)),
        Case("v1-backing-unrecorded",
             "Version 1 never records a backing format: byre must be told.",
             unrecorded.build(), base=b"b" * SIZE)
        .run(INFO, stdout=["backing file: base"])
        .fails(CONVERT, "base", "--probe-backing")
        .reads(b"b" * SIZE, "convert --probe-backing -O raw image out.raw")
        .reads(b"b" * SIZE, name="qemu-img"),
        Case("v1-backing-loop", "The image is its own backing file.",
             loop.build())
        .run(INFO, stdout=["backing file: image"]).fails(CONVERT, "image")
        .fails("convert --probe-backing -O raw image out.raw", "loop")
        .fails(CONVERT, "loop", name="qemu-img"),
    ]


def cases():
    return numbers() + tables() + compressed() + backing()
