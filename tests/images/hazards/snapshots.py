# SPDX-License-Identifier: MIT
"""The snapshot table, and snapshots opened as disks."""
import struct

from builder import COPIED, Qcow2, be64s, snapshot
from hazards.case import INFO, Case, accepted, refused, zeroes

MIB = 1 << 20
CLUSTER = 65536
CONVERT_FIRST = "convert -l first -O raw image out.raw"


def with_table(*entries, **more):
    """An empty disk with a snapshot table."""
    return Qcow2(MIB).snapshot_table(entries, **more).build()


def with_l1(size=MIB, **fields):
    """A disk with one snapshot that has its own L1 table and a cluster."""
    image = Qcow2(MIB)
    cluster = image.add(b"o" * CLUSTER)
    table = image.add(be64s([cluster | COPIED]).ljust(CLUSTER, b"\0"))
    l1 = {"l1_offset": image.add(be64s([table | COPIED])), "l1_size": 1}
    return image.snapshot_table([snapshot(size=size, **{**l1, **fields})])


def table():
    thousand = [snapshot(b"%d" % i, b"s") for i in range(1000)]
    return [
        refused("snapshot-count-65537", "One snapshot more than the limit.",
                with_table(count=65537), "snapshot table has 65537 entries",
                "65536"),
        refused("snapshot-count-all-ones",
                "The largest number of snapshots.",
                with_table(count=0xFFFFFFFF),
                "snapshot table has 4294967295 entries", "65536"),
        Case("snapshot-count-65536-in-a-hole",
             "65536 empty snapshots lie in a hole: version 2 needs no more.",
             Qcow2(MIB, version=2)
             .set(snapshots=65536, snapshots_offset=4 * CLUSTER)
             .build(200))
        .run(INFO, memory=128).run("info --output=json image", memory=128)
        .reads(zeroes(MIB), memory=64),
        refused("snapshot-offset-unaligned",
                "The snapshot table starts inside a cluster.",
                Qcow2(MIB).set(snapshots_offset=0x40200).build(),
                "snapshot table at offset 262656", "65536"),
        refused("snapshot-offset-overflow",
                "The snapshot table starts past the largest file offset.",
                Qcow2(MIB).set(snapshots=1,
                               snapshots_offset=0xFFFFFFFFFFFF0000).build(),
                "snapshot table of 40 bytes at offset",
                "18446744073709486080"),
        Case("snapshot-extra-1025",
             "A snapshot's extra data is over the limit.",
             with_table(snapshot(extra=bytes(1025))))
        .fails(INFO, "snapshot", "1025 bytes of extra data", "1024")
        .reads(zeroes(MIB)),
        Case("snapshot-extra-all-ones",
             "A snapshot's extra data has the largest length.",
             with_table(snapshot(extra_bytes=0xFFFFFFFF)))
        .fails(INFO, "snapshot", "4294967295 bytes of extra data", "1024")
        .reads(zeroes(MIB)),
        accepted("snapshot-extra-short-in-v3",
                 "Version 3 asks for 16 bytes of extra data, these are 8.",
                 with_table(snapshot(extra=bytes(8))), zeroes(MIB)),
        Case("snapshot-extra-unknown",
             "A snapshot has extra data that only a newer version knows.",
             with_table(snapshot(extra=struct.pack(">QQQ", 0, MIB, 0)
                                 + b"\xff" * 1000)))
        .run(INFO, stdout=["first"]).reads(zeroes(MIB)),
        Case("snapshot-thousand", "A thousand snapshots share one name.",
             with_table(*thousand)).run(INFO, stdout=["999 "], memory=64)
        .reads(zeroes(MIB)),
    ]


def names():
    return [
        Case("snapshot-name-past-end",
             "A snapshot's name goes on past the end of the file.",
             with_table(snapshot(name_bytes=65535)))
        .run(INFO, stdout=["first"], memory=64).reads(zeroes(MIB)),
        Case("snapshot-id-past-end",
             "A snapshot's id goes on past the end of the file.",
             with_table(snapshot(id_bytes=65535)))
        .run(INFO, memory=64).reads(zeroes(MIB)),
        Case("snapshot-name-empty", "A snapshot has neither id nor name.",
             with_table(snapshot(b"", b"")))
        .run(INFO).reads(zeroes(MIB))
        .fails(CONVERT_FIRST, "first"),
        Case("snapshot-name-quotes",
             "A snapshot's name is made to break JSON.",
             with_table(snapshot(b"1", b'a"\\\n\x01\xff')))
        .run("info --output=json image", stdout=['"snapshots"']),
    ]


def as_disks():
    content = b"o" * CLUSTER + zeroes(MIB - CLUSTER)
    return [
        Case("snapshot-good", "A snapshot as it should be.",
             with_l1().build()).reads(content, CONVERT_FIRST)
        .reads(zeroes(MIB)),
        Case("snapshot-missing", "There is no snapshot of that name.",
             with_l1().build())
        .fails("convert -l nosuch -O raw image out.raw", "nosuch"),
        Case("snapshot-l1-unaligned",
             "A snapshot's L1 table starts inside a cluster.",
             with_l1(l1_offset=0x40200).build())
        .run(INFO, stdout=["first"]).reads(zeroes(MIB))
        .fails(CONVERT_FIRST, "snapshot", "L1 table at offset 262656",
               "65536"),
        Case("snapshot-l1-too-many-entries",
             "A snapshot's L1 table is over the limit.",
             with_l1(l1_size=4194305).build())
        .run(INFO, stdout=["first"]).reads(zeroes(MIB))
        .fails(CONVERT_FIRST, "snapshot", "L1 table has 4194305 entries",
               "4194304"),
        Case("snapshot-l1-overflow",
             "A snapshot's L1 table ends past the largest file offset.",
             with_l1(l1_offset=(1 << 63) - 65536, l1_size=8193).build())
        .run(INFO, stdout=["first"])
        .fails(CONVERT_FIRST, "snapshot", "L1 table of 65544 bytes",
               "9223372036854710272"),
        Case("snapshot-l1-past-end",
             "A snapshot's L1 table lies past the end: all zeroes.",
             with_l1(l1_offset=1 << 40).build())
        .reads(zeroes(MIB), CONVERT_FIRST),
        Case("snapshot-l1-32-mib-in-a-hole",
             "A snapshot's L1 table claims 32 MiB past the end.",
             with_l1(l1_offset=1 << 40, l1_size=4194304).build())
        .reads(zeroes(MIB), CONVERT_FIRST, memory=32),
        Case("snapshot-size-bomb",
             "A snapshot claims a disk of 4 EiB with one L1 entry.",
             with_l1(size=1 << 62).build())
        .run(INFO, stdout=["first"]).reads(zeroes(MIB))
        .fails(CONVERT_FIRST, "snapshot", str(1 << 62),
               str((1 << 62) // (512 * MIB)), memory=64),
        Case("snapshot-size-over-int64",
             "A snapshot claims a disk of more than 2^63 bytes.",
             with_l1(size=(1 << 64) - 512).build())
        .run(INFO, stdout=["first"])
        .fails(CONVERT_FIRST, "snapshot",
               f"disk size is {(1 << 64) - 512} bytes"),
        Case("snapshot-size-odd",
             "A snapshot's size is no multiple of 512: the rest is cut.",
             with_l1(size=1000).build())
        .reads(b"o" * 512, CONVERT_FIRST),
    ]


def cases():
    return table() + names() + as_disks()
