# SPDX-License-Identifier: MIT
"""L1 and L2 entries that point where they should not."""
from builder import COPIED, ZERO, Qcow2
from hazards.case import MAP, Case, accepted, unmappable, zeroes
from streams import deflate

MIB = 1 << 20
CLUSTER = 65536


def one_entry(entry, bitmap=None, **shape):
    """A disk whose first cluster has the L2 entry `entry`."""
    return Qcow2(MIB, extended=bitmap is not None, **shape).map(
        0, entry, bitmap).build()


def l1_entry(entry):
    """A disk whose only L1 entry is `entry`."""
    image = Qcow2(MIB)
    image.l1[0] = entry
    return image.build()


def l1_entries():
    return [
        unmappable("l1-entry-unaligned",
                   "An L2 table starts inside a cluster.",
                   l1_entry(0x40200 | COPIED),
                   "L1 entry", "0x8000000000040200", "65536"),
        Case("l1-entry-past-end", "An L2 table lies past the end: all zeroes.",
             l1_entry(1 << 40 | COPIED)).reads(zeroes(MIB)),
        Case("l1-entry-largest", "An L2 table lies at the largest offset.",
             l1_entry(0x00FFFFFFFFFF0000 | COPIED)).reads(zeroes(MIB)),
        Case("l1-entry-to-header",
             "The L2 table is the header: offset 0 means there is none.",
             l1_entry(COPIED)).reads(zeroes(MIB)),
        Case("l1-entry-to-refcounts",
             "The L2 table is the refcount table, its data a block of counts.",
             l1_entry(CLUSTER | COPIED))
        .reads(l1_entry(CLUSTER | COPIED)[2 * CLUSTER:3 * CLUSTER]
               + zeroes(MIB - CLUSTER)),
        Case("l1-entry-to-l1", "The L1 table is its own L2 table.",
             l1_entry(3 * CLUSTER | COPIED))
        .reads(l1_entry(3 * CLUSTER | COPIED)[3 * CLUSTER:]
               .ljust(CLUSTER, b"\0") + zeroes(MIB - CLUSTER)),
        Case("l1-entry-reserved-bits",
             "Reserved bits of an L1 entry are set: they mean nothing.",
             l1_entry(0x7F000000000001FF)).reads(zeroes(MIB)),
    ]


def l2_entries():
    far = CLUSTER << 24
    largest = 0x00FFFFFFFFFF0000
    return [
        unmappable("l2-zero-bit-in-v2",
                   "The zero bit is set in version 2, which has none.",
                   one_entry(ZERO, version=2), "L2 entry", "version"),
        unmappable("l2-unaligned", "A cluster starts inside a cluster.",
                   one_entry(0x50200 | COPIED),
                   "L2 entry", "0x8000000000050200", "65536"),
        accepted("l2-past-end", "A cluster lies past the end: zeroes.",
                 one_entry(far | COPIED), zeroes(MIB)),
        accepted("l2-55-bits", "A cluster lies at 2^55 bytes: zeroes.",
                 one_entry(1 << 55 | COPIED), zeroes(MIB)),
        accepted("l2-largest", "A cluster lies at the largest offset: zeroes.",
                 one_entry(largest | COPIED), zeroes(MIB)),
        accepted("l2-reserved-bits",
                 "Reserved bits of an L2 entry are set: they mean nothing.",
                 one_entry(0x3F000000000001FE), zeroes(MIB)),
        accepted("l2-zero-unaligned-reserved",
                 "A zero cluster with a reservation past the end.",
                 one_entry(far | COPIED | ZERO), zeroes(MIB)),
        accepted("l2-copied-without-offset",
                 "An entry is marked as the only owner of nothing.",
                 one_entry(COPIED), zeroes(MIB)),
        Case("l2-cluster-twice", "Two guest clusters share one host cluster.",
             twice()).reads(b"t" * 2 * CLUSTER + zeroes(MIB - 2 * CLUSTER)),
        Case("l2-data-is-metadata", "A guest cluster is the L2 table itself.",
             selfish()).run(MAP, stdout=['"offset": 262144']).reads(
                 selfish()[4 * CLUSTER:5 * CLUSTER].ljust(CLUSTER, b"\0")
                 + zeroes(MIB - CLUSTER)),
    ]


def twice():
    image = Qcow2(MIB).data(0, b"t" * CLUSTER)
    return image.map(1, (image.end - CLUSTER) | COPIED).build()


def selfish():
    return Qcow2(MIB).map(0, 4 * CLUSTER | COPIED).build()


def subclusters():
    host = 0x60000
    both = one_entry(host | COPIED, 1 << 3 | 1 << 35)
    return [
        unmappable("subcluster-data-and-zero",
                   "A subcluster is data and reads as zero at once.",
                   both, "L2 entry", "ubcluster"),
        unmappable("subcluster-data-without-offset",
                   "A subcluster is data, but there is no cluster.",
                   one_entry(0, 1 << 31), "L2 entry", "ubcluster"),
        accepted("subcluster-reserved",
                 "A cluster is reserved, and none of it is data.",
                 one_entry(host | COPIED, 0), zeroes(MIB)),
        accepted("subcluster-zero-bit-in-descriptor",
                 "The zero bit that extended entries do not have is set.",
                 one_entry(ZERO, 0), zeroes(MIB)),
        unmappable("subcluster-unaligned",
                   "A cluster with subclusters starts inside a cluster.",
                   one_entry(0x50200 | COPIED, 0xFFFFFFFF),
                   "L2 entry", "0x8000000000050200", "65536"),
        accepted("subcluster-bitmap-of-compressed",
                 "A compressed cluster has a bitmap, which means nothing.",
                 compressed_with_bitmap(),
                 b"c" * CLUSTER + zeroes(MIB - CLUSTER)),
        accepted("subcluster-past-end",
                 "Subclusters are data past the end of the file: zeroes.",
                 one_entry(CLUSTER << 24 | COPIED, 0x0000FFFF), zeroes(MIB)),
    ]


def compressed_with_bitmap():
    """The bitmap of a compressed entry must be 0, and nobody looks at it."""
    image = Qcow2(MIB, extended=True)
    stream = deflate(b"c" * CLUSTER)
    offset = image.add(stream)
    entry = image.descriptor(offset, len(stream))
    return image.map(0, entry, (1 << 64) - 1).build()


def cases():
    return l1_entries() + l2_entries() + subclusters()
