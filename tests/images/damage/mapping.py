# SPDX-License-Identifier: MIT
"""L1 and L2 tables, flags, and what they point to."""
from builder import COMPRESSED, COPIED, ZERO, be64s
from damage.case import Damaged
from damage.counts import CLUSTER, case, filled, shared
from sound import MIB, Sound
from streams import deflate

FAR = 1 << 40


def entry(name, damage, change, found=(1, 0), shape=None, drop=(), bitmap=None,
          **expect):
    """
    The L2 entry of the second cluster becomes change(entry); the clusters of
    `drop` read as zeroes then.
    """
    image = filled(**(shape or {}))
    image.poke_entry(1, change(image.entry_of(1)), bitmap)
    for guest in drop:
        image.contents.pop(guest)
    return case(name, damage, image, found=found, **expect)


def l1(name, damage, change, found=(1, 0), disk=True, **expect):
    """The first L1 entry becomes change(entry)."""
    image = filled()
    value = change(image.l1[0])
    image.poke(image.l1_offset, be64s([value]))
    if disk is not True:
        expect["disk"] = disk
    return case(name, damage, image, found=found, **expect)


def copied_flags():
    stale = shared()
    stale.poke_entry(1, stale.entry_of(1) | COPIED)
    stale_l1 = shared()
    stale_l1.poke(stale_l1.l1_offset, be64s([stale_l1.l1[0] | COPIED]))
    both = shared()
    for guest in range(4):
        both.poke_entry(guest, both.entry_of(guest) | COPIED)
    return [
        entry("copied-missing", "A cluster with one owner is not marked so.",
              lambda value: value & ~COPIED),
        l1("copied-missing-l1", "An L2 table with one owner is not marked so.",
           lambda value: value & ~COPIED),
        case("copied-wrong", "A cluster with two owners is marked as of one.",
             stale, found=(1, 0), snapshots={"first": stale.disk()}),
        case("copied-wrong-l1",
             "An L2 table with two owners is marked as of one.",
             stale_l1, found=(1, 0), snapshots={"first": stale_l1.disk()}),
        case("copied-wrong-all", "Every cluster of two owners is marked so.",
             both, found=(4, 0), snapshots={"first": both.disk()}),
        entry("copied-512-byte-clusters", "A mark is missing.",
              lambda value: value & ~COPIED, shape={"cluster_bits": 9}),
        entry("copied-1-bit", "A mark is missing, counts have one bit.",
              lambda value: value & ~COPIED, shape={"refcount_order": 0}),
    ]


def reserved_bits():
    keep = {"says": ["reserved bits"]}
    return [
        entry("l2-reserved-low", "Low reserved bits of an L2 entry are set.",
              lambda value: value | 0x1FE, **keep),
        entry("l2-reserved-high", "High reserved bits of an L2 entry are set.",
              lambda value: value | 0x3F << 56, **keep),
        l1("l1-reserved-low", "Low reserved bits of an L1 entry are set.",
           lambda value: value | 0x1FF, **keep),
        l1("l1-reserved-high", "High reserved bits of an L1 entry are set.",
           lambda value: value | 0x7F << 56, **keep),
    ]


def l2_places():
    return [
        entry("l2-unaligned", "Data starts inside a cluster.",
              lambda value: value + 512, found=(2, 0), left=(1, 0), disk=None,
              says=["not aligned"], still=["not aligned"]),
        entry("l2-past-end", "Data lies past the end of the file.",
              lambda _: FAR | COPIED, found=(2, 1), drop=[1],
              says=["past the end"]),
        entry("l2-largest", "Data lies at the largest offset.",
              lambda _: 0x00FFFFFFFFFF0000 | COPIED, found=(2, 1), drop=[1],
              says=["past the end"]),
        entry("l2-zero-bit-v2", "The zero bit is set in version 2.",
              lambda value: value | ZERO, shape={"version": 2},
              left=(1, 0), disk=None),
        entry("l2-zero-unaligned",
              "The reservation of a zero cluster starts inside a cluster.",
              lambda value: value + 512 | ZERO, found=(2, 0), drop=[1]),
        entry("l2-zero-in-header",
              "A zero cluster's reservation is at 512 bytes.",
              lambda _: 512 | ZERO | COPIED, found=(4, 1), drop=[1]),
        twice(), own_table(), header_as_data(),
    ]


def twice():
    """One host cluster for two guest clusters: nobody can say whose it is."""
    image = filled()
    image.poke_entry(1, image.entry_of(0))
    image.contents[1] = image.contents[0]
    return case("l2-twice", "Two guest clusters own one host cluster.", image,
                found=(1, 1), left=(0, 0))


def own_table():
    image = filled()
    image.poke_entry(3, image.l2_offsets[0] | COPIED)
    return Damaged("l2-own-table", "A guest cluster is its own L2 table.",
                   image.build(), found=(2, 1), left=(2, 0),
                   still=["used twice: as L2 table"])


def header_as_data():
    image = filled()
    image.poke_entry(3, 3 * CLUSTER | COPIED)
    return Damaged("l2-is-l1", "A guest cluster is the L1 table.",
                   image.build(), found=(2, 1), left=(2, 0),
                   still=["used twice: as L1 table"])


def l1_places():
    shared_table = Sound(size=1 << 30)
    for guest in (0, 1, 8192):
        shared_table.fill(guest, b"a")
    shared_table.poke(shared_table.l1_offset + 8, be64s([shared_table.l1[0]]))
    return [
        l1("l1-unaligned", "An L2 table starts inside a cluster.",
           lambda value: value + 512, found=(1, 3), left=(1, 3), disk=None,
           still=["not aligned"]),
        l1("l1-past-end", "An L2 table lies past the end of the file.",
           lambda _: FAR | COPIED, found=(2, 5), says=["past the end"],
           disk=bytes(MIB)),
        l1("l1-header", "An L2 table is the header, by a reserved bit.",
           lambda _: 1 << 56 | COPIED, found=(2, 5),
           disk=bytes(MIB)),
        Damaged("l1-to-refcounts", "An L2 table is the refcount table.",
                with_l1_entry(CLUSTER | COPIED), found=(5, 5)),
        Damaged("l1-to-l1", "The L1 table is its own L2 table.",
                with_l1_entry(3 * CLUSTER | COPIED), found=(2, 5),
                left=(3, 0), still=["used twice: as L1 table"]),
        Damaged("l1-twice", "Two L1 entries own one L2 table.",
                shared_table.build(), found=(3, 2), left=(0, 0)),
    ]


def with_l1_entry(value):
    image = filled()
    return image.poke(image.l1_offset, be64s([value])).build()


def over_backing(name, damage, found, left=(0, 0), table=False, **shape):
    """
    What lies past the end reads as zeroes, and must not show the backing file
    after the repair.
    """
    base = b"B" * MIB
    image = filled(**shape).back(b"base", b"raw")
    if table:
        image.poke(image.l1_offset, be64s([FAR | COPIED]))
        disk = base
    else:
        image.poke_entry(1, FAR | COPIED)
        disk = b"".join(letter * CLUSTER for letter in
                        [b"a", b"\0", b"c", b"d"]) + base[4 * CLUSTER:]
    return Damaged(name, damage, image.build(), found=found, left=left,
                   disk=disk, base=base)


def backed():
    return [
        over_backing("backed-l2-past-end",
                     "Data lies past the end, with a backing file.", (2, 1)),
        over_backing("backed-l2-past-end-v2",
                     "The same in version 2, which has no zero clusters.",
                     (2, 1), left=(1, 0), version=2),
        over_backing("backed-l1-past-end",
                     "An L2 table lies past the end, with a backing file.",
                     (2, 5), table=True),
    ]


# ---- Compressed ----

def squeezed():
    image = Sound()
    for guest, letter in enumerate([b"a", b"b"]):
        image.squeeze(guest, letter, deflate(letter * CLUSTER))
    return image


def compressed():
    copied = squeezed()
    copied.poke_entry(1, copied.entry_of(1) | COPIED)
    past = squeezed()
    past.poke_entry(1, past.descriptor(FAR, 100))
    past_disk = past.disk()[:CLUSTER]
    overlap = squeezed()
    overlap.poke_entry(1, overlap.entry_of(0))
    overlap.contents[1] = overlap.contents[0]
    long_span = squeezed()
    long_span.poke_entry(1, COMPRESSED | 255 << 54 | long_span.hosts[1])
    on_data = squeezed()
    host = on_data.fill(2, b"c")
    on_data.poke_entry(1, on_data.descriptor(host, 100))
    return [
        case("compressed-copied", "A compressed cluster is marked as copied.",
             copied, found=(1, 0), says=["marked as copied"]),
        case("compressed-past-end", "A stream lies past the end.",
             past, found=(1, 1), left=(1, 0), disk=None),
        case("compressed-shared", "Two clusters share a stream, counted once.",
             overlap, found=(1, 1)),
        case("compressed-long-span", "A stream claims to go on past the end.",
             long_span, found=(1, 1)),
        case("compressed-on-data", "A stream lies in a cluster of data.",
             on_data, found=(1, 1), disk=None),
    ]


# ---- Extended entries ----

def extended(name, damage, word=None, bitmap=None, found=(1, 0),
             readable=False, left=(1, 0), **expect):
    image = filled(extended=True)
    value = image.entry_of(1)
    image.poke_entry(1, value if word is None else word(value),
                     0xFFFFFFFF if bitmap is None else bitmap)
    if not readable:
        expect["disk"] = None
    return case(name, damage, image, found=found, left=left, **expect)


def subclusters():
    stream = deflate(b"a" * CLUSTER)
    packed = Sound(extended=True)
    packed.squeeze(0, b"a", stream)
    packed.poke_entry(0, packed.entry_of(0), 0xFF)
    return [
        extended("extended-data-and-zero",
                 "Subclusters are data and zero at once.",
                 bitmap=0xFFFFFFFF | 1 << 40),
        extended("extended-data-without-cluster",
                 "Subclusters are data, and there is no cluster.",
                 word=lambda _: 0, bitmap=1 << 4, found=(1, 1)),
        extended("extended-bit-0", "The zero bit of a plain entry is set.",
                 word=lambda value: value | ZERO, readable=True, left=(0, 0)),
        extended("extended-reserved-bits", "Reserved bits are set.",
                 word=lambda value: value | 0x1FE, readable=True,
                 left=(0, 0)),
        case("extended-compressed-bitmap",
             "A compressed cluster has subclusters.",
             packed, found=(1, 0), says=["subclusters"]),
    ]


# ---- Data files ----

def external(name, damage, entries, found=(1, 0), left=(1, 0),
             readable=False):
    """A disk in a data file, whose L2 entries are forced."""
    data = b"".join(letter * CLUSTER for letter in [b"a", b"b", b"c", b"d"])
    image = Sound().set(incompatible=4).extend(0x44415441, b"data")
    image.entry_offset(0)
    for guest in range(4):
        image.map(guest, guest * CLUSTER | COPIED)
    for guest, value in entries.items():
        image.poke_entry(guest, value)
    disk = data.ljust(MIB, b"\0") if readable else None
    return Damaged(name, damage, image.build(), found=found, left=left,
                   disk=disk, data=data.ljust(MIB, b"\0"))


def data_files():
    return [
        external("data-file-elsewhere", "A cluster is not where it is due.",
                 {1: 2 * CLUSTER | COPIED}),
        external("data-file-compressed", "A data file holds a stream.",
                 {1: COMPRESSED | 3 * CLUSTER}, found=(3, 0), left=(2, 0)),
        external("data-file-copied-missing",
                 "A cluster of a data file is not marked as copied.",
                 {1: CLUSTER}, left=(0, 0), readable=True),
    ]


def cases():
    return (copied_flags() + reserved_bits() + l2_places() + l1_places()
            + backed() + compressed() + subclusters() + data_files())
