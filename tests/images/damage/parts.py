# SPDX-License-Identifier: MIT
"""Snapshots, bitmaps, the LUKS area and the header."""
import struct

from builder import (COPIED, EXT_BITMAPS, LUKS_AREA_BYTES, be64s, bitmap,
                     luks_header, snapshot)
from damage.case import Damaged
from damage.counts import CLUSTER, case, filled
from sound import MIB, Sound

FAR = 1 << 40
UNSEEN = (0, 0, 1)  # a part that could not be looked at


# ---- Snapshots ----

def with_snapshot(**fields):
    """A disk with a snapshot of its own clusters, its entry forced."""
    image = filled()
    if fields:
        image.own()
        l1 = image.end - CLUSTER
        image.snapshot_entries = [snapshot(
            **{"l1_offset": l1, "l1_size": 1, **fields})]
    else:
        image.own()
    return image


def then():
    return (b"o" * CLUSTER).ljust(MIB, b"\0")


def snapshot_counts():
    low_data = with_snapshot()
    low_data.count(low_data.own_data, 0)
    low_table = with_snapshot()
    low_table.count(low_table.own_table, 0)
    low_l1 = with_snapshot()
    low_l1.count(low_l1.own_table + CLUSTER, 0)
    lost = with_snapshot().finish_parts()
    lost.set(snapshots=0, snapshots_offset=0)
    low_list = with_snapshot().finish_parts()
    low_list.count(low_list.snapshots_at, 0)
    keep = {"snapshots": {"first": then()}}
    return [
        case("snapshot-low-data", "A snapshot's data counts as free.",
             low_data, found=(1, 0), **keep),
        case("snapshot-low-l2", "A snapshot's L2 table counts as free.",
             low_table, found=(1, 0), **keep),
        case("snapshot-low-l1", "A snapshot's L1 table counts as free.",
             low_l1, found=(1, 0), **keep),
        case("snapshot-low-list", "The snapshot table counts as free.",
             low_list, found=(1, 0), **keep),
        case("snapshot-forgotten", "What a snapshot used is still counted.",
             lost, found=(0, 4)),
    ]


def snapshot_tables():
    over = with_snapshot().finish_parts()
    over.set(snapshots=65537)
    extra = with_snapshot(extra=struct.pack(">QQQ", 0, MIB, 0) + bytes(1200))
    short = with_snapshot(extra=struct.pack(">Q", 0))
    empty_l1 = with_snapshot(l1_offset=0, l1_size=0)
    unaligned = with_snapshot(l1_offset=9 * CLUSTER + 512)
    too_many = with_snapshot(l1_size=4194305)
    past = with_snapshot(l1_offset=FAR)
    damaged_l2 = with_snapshot()
    damaged_l2.poke(damaged_l2.own_table, be64s([damaged_l2.own_data + 512]))
    reserved = with_snapshot()
    reserved.poke(reserved.own_table,
                  be64s([reserved.own_data | COPIED | 0x1FE]))
    return [
        case("snapshot-too-many", "The header claims 65537 snapshots.",
             over, found=UNSEEN, left=UNSEEN, disk=None),
        case("snapshot-extra-data", "A snapshot has 1224 bytes of extra data.",
             extra, found=(1, 0), says=["more extra data"],
             snapshots={"first": then()}),
        case("snapshot-incomplete", "A snapshot of version 3 lacks its size.",
             short, found=(1, 0), snapshots={"first": then()}),
        case("snapshot-empty-l1", "A snapshot has no L1 table; it leaks.",
             empty_l1, found=(0, 3)),
        case("snapshot-l1-unaligned",
             "A snapshot's L1 table starts inside a cluster.",
             unaligned, found=(1, 2), left=(1, 2)),
        case("snapshot-l1-too-long", "A snapshot's L1 table is over the limit.",
             too_many, found=(2, 3), left=(2, 2)),
        case("snapshot-l1-past-end", "A snapshot's L1 table is past the end.",
             past, found=(1, 3), left=(1, 0)),
        case("snapshot-l2-unaligned",
             "A snapshot's data starts inside a cluster.",
             damaged_l2, found=(3, 0), left=(2, 0)),
        case("snapshot-l2-reserved", "A snapshot's entry has reserved bits.",
             reserved, found=(1, 0),
             snapshots={"first": then()}),
    ]


# ---- Bitmaps ----

def with_bitmap(**fields):
    image = filled()
    image.note_bitmap(**fields)
    return image


def entry_of_bitmap(name, damage, value, found, left=(1, 0)):
    image = with_bitmap()
    image.poke(image.bitmap_table, be64s([value]))
    return case(name, damage, image, found=found, left=left)


def directory(name, damage, found=UNSEEN, left=(0, 0), table=None, **fields):
    """
    The entry of the directory is forced; its table stays where it is.  A bitmap
    that nobody can read is dropped: it says what a backup must copy, no more.
    """
    image = with_bitmap()
    image.bitmap_entries = [bitmap(
        image.bitmap_table if table is None else table, **fields)]
    return case(name, damage, image, found=found, left=left)


def stated(name, damage, count=1, size=None, offset=None, found=(1, 0),
           left=(0, 0)):
    """The extension says something else than what is there."""
    image = with_bitmap()
    raw = b"".join(image.bitmap_entries)
    image.bitmap_entries = []
    at = image.add(raw)
    image.extend(EXT_BITMAPS, struct.pack(
        ">IIQQ", count, 0, len(raw) if size is None else size,
        at if offset is None else offset))
    image.set(autoclear=1)
    return case(name, damage, image, found=found, left=left)


def bitmaps():
    low_bits = with_bitmap()
    low_bits.count(low_bits.bits, 0)
    low_table = with_bitmap()
    low_table.count(low_table.bitmap_table, 0)
    low_directory = with_bitmap().finish_parts()
    low_directory.count(low_directory.directory_at, 0)
    unused = with_bitmap().finish_parts().set(autoclear=0)
    in_use = with_bitmap(flags=3)
    return [
        case("bitmap-low-data", "The bits of a bitmap count as free.",
             low_bits, found=(1, 0)),
        case("bitmap-low-table", "The table of a bitmap counts as free.",
             low_table, found=(1, 0)),
        case("bitmap-low-directory", "The bitmap directory counts as free.",
             low_directory, found=(1, 0)),
        case("bitmap-not-valid", "There are bitmaps, and their bit is not set.",
             unused, found=(0, 3)),
        case("bitmap-in-use", "A bitmap is inconsistent, which is no error.",
             in_use, found=(0, 0)),
        entry_of_bitmap("bitmap-data-past-end",
                        "The bits of a bitmap lie past the end.",
                        FAR, (1, 1)),
        entry_of_bitmap("bitmap-data-unaligned",
                        "The bits of a bitmap start inside a cluster.",
                        10 * CLUSTER + 512, (4, 1), (2, 0)),
        entry_of_bitmap("bitmap-data-reserved",
                        "Reserved bits of a bitmap's table are set.",
                        0x1FE, (1, 1)),
        directory("bitmap-table-unaligned",
                  "The table of a bitmap starts inside a cluster.",
                  table=10 * CLUSTER + 512),
        directory("bitmap-table-past-end",
                  "The table of a bitmap lies past the end.",
                  (1, 2), (1, 0), table=FAR),
        directory("bitmap-type", "A bitmap is of a type nobody knows.",
                  kind=9),
        stated("bitmap-directory-past-end", "The directory is past the end.",
               offset=FAR, found=(1, 3)),
        stated("bitmap-directory-unaligned",
               "The directory starts inside a cluster.",
               offset=11 * CLUSTER + 512, found=UNSEEN),
        stated("bitmap-count", "The directory claims two bitmaps, and has one.",
               count=2, found=UNSEEN),
    ]


# ---- The LUKS area ----

def encrypted():
    image = Sound()
    image.luks(luks_header(), LUKS_AREA_BYTES)
    return image


def luks():
    fine = encrypted()
    low = encrypted()
    low.count(4 * CLUSTER, 0)
    leaking = encrypted()
    leaking.add(b"x" * CLUSTER)
    more = {"needs": ["crypto"], "disk": None}
    return [
        case("luks-well", "A LUKS area is counted: nothing is wrong.",
             fine, found=(0, 0), **more),
        case("luks-low", "The first cluster of the LUKS area counts as free.",
             low, found=(1, 0), **more),
        case("luks-leak", "A leak behind a LUKS area.",
             leaking, found=(0, 1), **more),
    ]


def cases():
    return snapshot_counts() + snapshot_tables() + bitmaps() + luks()


__all__ = ["Damaged", "cases"]
