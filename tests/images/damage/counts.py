# SPDX-License-Identifier: MIT
"""Refcounts, their blocks and their table."""
from builder import COPIED, be64s
from damage.case import Damaged
from sound import MIB, Sound, pack_counts
from streams import deflate

CLUSTER = 65536
LETTERS = [b"a", b"b", b"c", b"d"]


def filled(**shape):
    """A disk of 1 MiB whose first four clusters hold a, b, c and d."""
    image = Sound(**shape)
    for guest, letter in enumerate(LETTERS):
        image.fill(guest, letter)
    return image


def case(name, damage, image, length=None, **expect):
    """The disk must read after the repair as it was put together."""
    expect.setdefault("disk", image.disk())
    return Damaged(name, damage, image.build(length), **expect)


def leaked(name, damage, clusters=1, **shape):
    """Clusters at the end that count as used, and are not."""
    image = filled(**shape)
    for _ in range(clusters):
        image.add(b"x" * image.cluster)
    return case(name, damage, image, found=(0, clusters))


def leaks():
    widths = [
        leaked(f"leak-{1 << order}-bit",
               f"A cluster that nothing uses is counted, in {1 << order} bits.",
               refcount_order=order) for order in range(7) if order != 4]
    return widths + [
        leaked("leak", "A cluster that nothing uses is counted."),
        leaked("leak-many", "Nine clusters that nothing uses are counted.", 9),
        leaked("leak-v2", "A leak in version 2.", version=2),
        leaked("leak-512-byte-clusters", "A leak between small clusters.",
               cluster_bits=9),
        leaked("leak-2-mib-clusters", "A leak between the largest clusters.",
               cluster_bits=21, size=8 * MIB),
        case("leak-in-use-twice", "A cluster counts as used twice, and is once.",
             (image := filled()).count(image.hosts[2], 2), found=(1, 1)),
        case("leak-highest-count", "A cluster has the highest count there is.",
             (image := filled()).count(image.hosts[2], 65535), found=(1, 1)),
        case("leak-table-counted-twice", "An L2 table counts as used twice.",
             (image := filled()).count(image.l2_offsets[0], 2), found=(1, 1)),
        case("leak-past-end",
             "Counts are above 0 where the file has no clusters: harmless.",
             (image := filled()).count(image.end + 4 * CLUSTER, 1)
             .count(image.end + 9 * CLUSTER, 3), found=(0, 0)),
    ]


def low(name, damage, offset_of, corruptions, **shape):
    """The count of one cluster is 0."""
    image = filled(**shape)
    image.count(offset_of(image), 0)
    return case(name, damage, image, found=(corruptions, 0))


def low_counts():
    data = [
        low(f"low-{1 << order}-bit",
            f"Data counts as free, in {1 << order} bits.",
            lambda image: image.hosts[1], 2, refcount_order=order)
        for order in (0, 2, 5, 6)]
    return data + [
        low("low-data", "A cluster of data counts as free.",
            lambda image: image.hosts[1], 2),
        low("low-l2", "An L2 table counts as free.",
            lambda image: image.l2_offsets[0], 2),
        low("low-l1", "The L1 table counts as free.",
            lambda image: image.l1_offset, 1),
        low("low-header", "The header counts as free.", lambda image: 0, 1),
        low("low-table", "The refcount table counts as free.",
            lambda image: CLUSTER, 1),
        low("low-block", "The refcount block counts as free.",
            lambda image: 2 * CLUSTER, 1),
        low("low-data-512-byte-clusters", "Data counts as free.",
            lambda image: image.hosts[1], 2, cluster_bits=9),
        low("low-data-2-mib-clusters", "Data counts as free.",
            lambda image: image.hosts[1], 2, cluster_bits=21, size=8 * MIB),
        case("low-shared", "A cluster that a snapshot shares counts once.",
             (image := shared()).count(image.hosts[1], 1), found=(2, 0),
             snapshots={"first": image.disk()}),
        case("low-all", "Every count is 0.", all_zero(), found=(14, 0)),
    ]


def shared():
    image = filled()
    image.share()
    return image


def all_zero():
    image = filled()
    for cluster in list(image.uses):
        image.count(cluster * CLUSTER, 0)
    return image


def block_entry(name, damage, entry, *found, **expect):
    """The only entry of the refcount table is `entry`."""
    image = filled().poke(CLUSTER, be64s([entry]))
    return case(name, damage, image, found=found, **expect)


def blocks():
    far = 1 << 40
    return [
        block_entry("block-missing", "There is no refcount block.", 0, 13, 0),
        block_entry("block-unaligned", "A block starts inside a cluster.",
                    2 * CLUSTER + 512, 1, 0, 9),
        block_entry("block-past-end", "A block lies past the end.", far,
                    14, 0),
        block_entry("block-largest", "A block lies at the largest offset.",
                    0xFFFFFFFFFFFF0000, 1, 0, 9),
        block_entry("block-reserved-bits",
                    "Reserved bits are set beside a block.",
                    2 * CLUSTER | 0x1FF, 1, 1),
        case("block-twice", "Two entries of the table name one block.",
             filled().poke(CLUSTER + 8, be64s([2 * CLUSTER])), found=(2, 0)),
        case("block-is-data", "A cluster of data serves as a block too.",
             (image := filled()).poke(CLUSTER + 8, be64s([image.hosts[3]])),
             found=(2, 0)),
        case("table-in-a-hole", "The refcount table lies past the end.",
             filled().set(refcount_table_offset=far), found=(13, 0)),
        case("table-is-data", "The refcount table is a cluster of data.",
             (image := filled()).set(
                 refcount_table_offset=image.hosts[0]),
             found=(8193, 0, 9), says=["has reserved bits set"]),
        case("table-of-two-claims", "The table claims to go on over data.",
             filled().set(refcount_table_clusters=3), found=(8, 0)),
        case("table-empty", "The refcount table has no clusters.",
             filled().set(refcount_table_clusters=0), found=(13, 0)),
    ]


def second_block():
    """Small clusters: the counts need several blocks."""
    image = Sound(size=1 << 20, cluster_bits=9, refcount_order=6)
    for guest in range(80):
        image.fill(guest, bytes([97 + guest % 26]))
    return image


def several_blocks():
    def broken(name, damage, entry, **expect):
        image = second_block().poke(512 + 8, be64s([entry]))
        return case(name, damage, image, **expect)

    return [
        broken("second-block-missing", "One of several blocks is missing.",
               0, found=(44, 0)),
        broken("second-block-is-first", "Two entries share the first block.",
               1024, found=(2, 1)),
        broken("second-block-past-end", "One of several blocks is past the end.",
               1 << 40, found=(45, 0)),
    ]


def marks():
    """Dirty and corrupt images, of which the counts may be right or not."""
    lazy = filled().set(incompatible=1, compatible=1)
    stale = filled().set(incompatible=1, compatible=1)
    for guest in range(4):
        stale.count(stale.hosts[guest], 0)
    stale.count(stale.l2_offsets[0], 0)
    both = filled().set(incompatible=1, compatible=1)
    both.add(b"x" * CLUSTER)
    both.count(both.hosts[2], 0)
    corrupt_low = filled().set(incompatible=2)
    corrupt_low.count(corrupt_low.hosts[1], 0)
    return [
        case("dirty", "The last writer was killed, and had changed nothing.",
             lazy, found=(0, 0)),
        case("dirty-stale", "The last writer was killed before its counts.",
             stale, found=(10, 0)),
        case("dirty-stale-leak", "Stale counts, too low and too high.",
             both, found=(2, 1)),
        case("corrupt-bit", "An image is marked as corrupt, and is well.",
             filled().set(incompatible=2), found=(0, 0)),
        case("corrupt-low", "An image is marked as corrupt, and is.",
             corrupt_low, found=(2, 0)),
    ]


def compressed_counts():
    """Streams that share a cluster give it a count each."""
    image = Sound()
    for guest, letter in enumerate(LETTERS[:2]):
        image.squeeze(guest, letter, deflate(letter * CLUSTER))
    low_stream = image.count(image.hosts[0], 0)
    high = Sound()
    high.squeeze(0, b"a", deflate(b"a" * CLUSTER))
    high.count(high.hosts[0], 5)
    return [
        case("low-compressed", "A compressed cluster counts as free.",
             low_stream, found=(1, 0)),
        case("leak-compressed", "A compressed cluster counts five times.",
             high, found=(0, 1)),
    ]


def truncated():
    image = filled()
    whole = image.build()
    kept = {0: image.contents[0], 1: image.contents[1],
            2: image.contents[2][:1000].ljust(CLUSTER, b"\0")}
    cut = b"".join(kept.get(i, bytes(CLUSTER)) for i in range(16))
    return [
        Damaged("truncated-data", "The file ends inside the third cluster.",
                whole[:image.hosts[2] + 1000], found=(1, 0), disk=cut,
                says=["past the end"]),
        Damaged("truncated-tables", "The file ends behind the L1 table.",
                whole[:4 * CLUSTER], found=(1, 0), disk=bytes(MIB),
                says=["past the end"]),
    ]


def cases():
    return (leaks() + low_counts() + blocks() + several_blocks() + marks()
            + compressed_counts() + truncated())


__all__ = ["CLUSTER", "COPIED", "case", "cases", "filled", "pack_counts",
           "shared"]
