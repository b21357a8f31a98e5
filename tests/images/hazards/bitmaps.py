# SPDX-License-Identifier: MIT
"""
The bitmap directory.  A bad one must be named when bitmaps are asked for, and
must not keep anybody from reading the disk.
"""
from builder import EXT_BITMAPS, Qcow2, bitmap
from hazards.case import INFO, Case, accepted, zeroes

MIB = 1 << 20
CLUSTER = 65536
TABLE = 4 * CLUSTER


def directory(*entries, **more):
    """A disk with an empty bitmap table and this directory."""
    image = Qcow2(MIB)
    image.add(bytes(8))
    image.data(0, b"d" * CLUSTER)
    return image.bitmap_directory(entries, **more)


def bad(name, hazard, image, *words):
    """Bitmaps cannot be listed, and the disk reads all the same."""
    return Case(name, hazard, image.build()).fails(
        INFO, *words, memory=64).reads(
            b"d" * CLUSTER + zeroes(MIB - CLUSTER), memory=64)


def extension():
    good = bitmap(TABLE)
    return [
        bad("bitmap-count-0", "There is a directory of no bitmaps.",
            directory(count=0), "bitmaps", "0"),
        bad("bitmap-count-65536", "One bitmap more than the limit.",
            directory(good, count=65536, stated_bytes=65536 * 32),
            "bitmaps extension has 65536 bitmaps", "65535"),
        bad("bitmap-count-too-small",
            "The directory holds more bitmaps than are counted.",
            directory(good, bitmap(TABLE, name=b"b1"), count=1),
            "bitmap directory"),
        bad("bitmap-count-too-large",
            "The directory holds fewer bitmaps than are counted.",
            directory(good, count=2), "bitmap directory"),
        bad("bitmap-directory-too-long",
            "The directory is longer than the limit.",
            directory(good, stated_bytes=1024 * 65535 + 1),
            "bitmap directory has 67107841 bytes", "67107840"),
        bad("bitmap-directory-all-ones",
            "The directory has the largest length.",
            directory(good, stated_bytes=(1 << 64) - 1),
            "bitmap directory has 18446744073709551615 bytes", "67107840"),
        bad("bitmap-directory-64-mib-in-a-hole",
            "The directory claims 64 MiB, the file has less than 1.",
            directory(good, count=65535, stated_bytes=1024 * 65535),
            "bitmap directory of 67107840 bytes"),
        bad("bitmap-directory-unaligned",
            "The directory starts inside a cluster.", unaligned(),
            "bitmap directory at offset 262656", "65536"),
        accepted("bitmap-without-autoclear",
                 "A writer that knows no bitmaps has changed the disk.",
                 directory(good, autoclear=0).build(),
                 b"d" * CLUSTER + zeroes(MIB - CLUSTER)),
    ]


def unaligned():
    image = Qcow2(MIB).data(0, b"d" * CLUSTER)
    return image.extend(EXT_BITMAPS, bytes([0, 0, 0, 1]) + bytes(4)
                        + (32).to_bytes(8, "big")
                        + (0x40200).to_bytes(8, "big")).set(autoclear=1)


def entries():
    def case(title, hazard, *words, **fields):
        entry = bitmap(**{"table_offset": TABLE, **fields})
        return bad(f"bitmap-{title}", hazard, directory(entry),
                   "bitmap", *words)

    return [
        case("type-2", "A bitmap's type does not exist.", "type 2",
             kind=2),
        case("granularity-8", "A bitmap's granularity is under the limit.",
             "granularity_bits is 8", "9", granularity=8),
        case("granularity-32", "A bitmap's granularity is over the limit.",
             "granularity_bits is 32", "31", granularity=32),
        case("granularity-255", "A bitmap's granularity is the largest.",
             "granularity_bits is 255", "31", granularity=255),
        case("extra-data", "A bitmap has extra data.", "8 bytes of extra data",
             extra=bytes(8)),
        case("flags-unknown", "A bitmap has a flag nobody knows.", "flags 0x8",
             flags=8),
        case("table-size", "A bitmap's table does not match the disk.",
             "table has 2 entries", "1", table_entries=2),
        case("table-empty", "A bitmap has no table.", "table has 0 entries",
             table_entries=0),
        case("table-all-ones", "A bitmap's table has the most entries.",
             "table has 4294967295 entries", table_entries=0xFFFFFFFF),
        case("table-unaligned", "A bitmap's table starts inside a cluster.",
             "table at offset 262656", table_offset=0x40200),
        case("table-at-0", "A bitmap's table is the header.", "table",
             table_offset=0),
        case("name-past-directory", "A bitmap's name ends behind the list.",
             "1048 bytes", "32", name_bytes=1023),
        case("name-too-long", "A bitmap's name is longer than the limit.",
             "name has 1024 bytes", "1023", name=b"n" * 1024),
        Case("bitmap-name-empty", "A bitmap has no name.",
             directory(bitmap(TABLE, name=b"")).build())
        .run(INFO, stdout=["granularity: 65536"])
        .reads(b"d" * CLUSTER + zeroes(MIB - CLUSTER)),
        bad("bitmap-names-equal", "Two bitmaps have the same name.",
            directory(bitmap(TABLE), bitmap(TABLE)), "bitmaps", "b0"),
        Case("bitmap-in-use",
             "A bitmap was in use when its writer died: its table is junk.",
             directory(bitmap(TABLE, flags=3, table_entries=7)).build())
        .run(INFO, stdout=["in-use"])
        .reads(b"d" * CLUSTER + zeroes(MIB - CLUSTER)),
    ]


def cases():
    return extension() + entries()
