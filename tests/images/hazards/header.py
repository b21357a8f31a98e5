# SPDX-License-Identifier: MIT
"""The header's own fields, and the tables it points to."""
from builder import EXT_FEATURE_NAMES, MAGIC, Qcow2, feature_name
from hazards.case import CONVERT, INFO, MAP, Case, accepted, refused, zeroes

MIB = 1 << 20


def forced(**fields):
    """An empty disk of 1 MiB with header fields forced."""
    return Qcow2(MIB).set(**fields).build()


def explicit(name, hazard, image, *words):
    """Refused when it is said to be QCOW2: probing makes it a raw disk."""
    case = Case(name, hazard, image)
    return case.fails("info -f qcow2 image", *words).fails(
        "convert -f qcow2 -O raw image out.raw", *words)


def named_header(length):
    """A header_length that cuts into the feature name table."""
    rows = feature_name(0, 0, b"dirty bit")
    return Qcow2(MIB, cluster_bits=9).extend(EXT_FEATURE_NAMES, rows).set(
        header_length=length).build()


def long_header():
    image = Qcow2(MIB).put(112, b"\xff" * 8)
    image.header["header_length"] = 120
    return image.build()


def identity():
    return [
        explicit("bad-magic", "The first byte of the magic is wrong.",
                 forced(magic=b"XFI\xfb"), "qcow2 format", "0x584649fb"),
        explicit("empty-file", "The file is empty.", b"",
                 "qcow2 format", "0x00000000"),
        explicit("version-0", "The version is 0.",
                 forced(version=0), "version 0"),
        refused("version-4", "The version is newer than any there is.",
                forced(version=4), "version 4"),
        refused("version-all-ones", "The version is the largest number.",
                forced(version=0xFFFFFFFF), "version 4294967295"),
        refused("header-truncated-at-20",
                "The file ends before the cluster size; the rest is zero.",
                Qcow2(MIB).build(20), "cluster_bits is 0", "9"),
        refused("header-truncated-at-100",
                "The file ends before the length of the header.",
                Qcow2(MIB).build(100), "header length is 0 bytes", "104"),
        Case("raw-disk-with-a-header",
             "A guest wrote a QCOW2 header into its raw disk.",
             Qcow2(MIB).back(b"/nonexistent/secret", b"raw").build(512))
        .reads(Qcow2(MIB).back(b"/nonexistent/secret", b"raw").build(512),
               "convert -f raw -O raw image out.raw")
        .run("info -f raw image", stdout=["file format: raw"],
             absent=["backing file"]),
    ]


def cluster_bits():
    cases = [
        refused(f"cluster-bits-{name}", f"cluster_bits is {value}.",
                forced(cluster_bits=value), f"cluster_bits is {value}", limit)
        for name, value, limit in [("8", 8, "9"), ("22", 22, "21"),
                                   ("all-ones", 0xFFFFFFFF, "21")]
    ]
    extended = Qcow2(MIB, cluster_bits=13).set(incompatible=16).build()
    return cases + [
        refused("extended-l2-small-cluster",
                "Extended L2 entries need clusters of 16 KiB; these have 8.",
                extended, "xtended L2", "cluster size is 8192", "16384"),
        accepted("extended-l2-empty", "Extended L2 entries, all empty.",
                 Qcow2(MIB, extended=True).build(), zeroes(MIB)),
    ]


def header_length():
    cases = [
        refused(f"header-length-{value}", f"header_length is {value}.",
                forced(header_length=value),
                f"header length is {value} bytes", limit)
        for value, limit in [(0, "104"), (100, "104"), (65544, "65536"),
                             (0xFFFFFFFF, "65536")]
    ]
    cases += [
        refused(f"header-length-{value}-hides-extension",
                f"header_length {value} starts inside an extension.",
                named_header(value), "extension")
        for value in (110, 113)
    ]
    return cases + [
        accepted("header-length-105",
                 "header_length is odd, but the padding ends the extensions.",
                 forced(header_length=105), zeroes(MIB)),
        accepted("header-length-120",
                 "The header has 8 bytes that only a newer version knows.",
                 long_header(), zeroes(MIB)),
    ]


def small_numbers():
    cases = [
        refused(f"refcount-order-{name}", f"refcount_order is {value}.",
                forced(refcount_order=value),
                f"refcount_order is {value}", "6")
        for name, value in [("7", 7), ("all-ones", 0xFFFFFFFF)]
    ]
    return cases + [
        refused("crypt-method-3", "The encryption method does not exist.",
                forced(crypt_method=3), "encryption method 3"),
        Case("crypt-method-aes-without-secret",
             "The disk is encrypted and nobody gave a passphrase.",
             forced(crypt_method=1))
        .run(INFO, stdout=["encrypted: yes"]).fails(CONVERT, "key-secret"),
    ]


def features():
    named = feature_name(0, 40, b"time travel")
    hostile = feature_name(0, 40, b"a\nb\x1b[2Jc")
    return [
        refused("incompatible-bit-unnamed", "An unknown feature is needed.",
                forced(incompatible=1 << 40), "incompatible feature",
                "10000000000"),
        refused("incompatible-bit-named",
                "An unknown feature is needed, and the image names it.",
                Qcow2(MIB).extend(EXT_FEATURE_NAMES, named)
                .set(incompatible=1 << 40).build(), "time travel"),
        refused("incompatible-bit-63", "The last feature bit is set.",
                forced(incompatible=1 << 63),
                "incompatible feature", "8000000000000000"),
        refused("feature-name-newline",
                "The name of a feature breaks lines and moves the cursor.",
                Qcow2(MIB).extend(EXT_FEATURE_NAMES, hostile)
                .set(incompatible=1 << 40).build(), "b"),
        accepted("compatible-and-autoclear-bits",
                 "Unknown features that do not hinder reading are set.",
                 forced(compatible=1 << 50, autoclear=0xF0), zeroes(MIB)),
        refused("compression-type-2", "The codec does not exist.",
                forced(incompatible=8, compression_type=2),
                "compression type 2"),
        refused("compression-bit-without-type",
                "The feature bit says other than zlib, the type says zlib.",
                forced(incompatible=8), "compression type is 0"),
        refused("compression-type-without-bit",
                "The type says zstd, the feature bit says zlib.",
                forced(compression_type=1), "compression type is 1"),
    ]


def disk_size():
    return [
        Case("size-odd", "The size is no multiple of 512: the rest is cut.",
             forced(size=1000001))
        .run(INFO, stdout=["(999936 bytes)"]).reads(zeroes(999936)),
        refused("size-over-int64", "The size is more than 2^63.",
                forced(size=(1 << 63) + 512),
                f"disk size is {(1 << 63) + 512} bytes",
                str((1 << 63) - 1)),
        refused("size-all-ones", "The size is the largest number.",
                forced(size=(1 << 64) - 1),
                f"disk size is {(1 << 64) - 1} bytes",
                str((1 << 63) - 1)),
        refused("size-needs-more-l1",
                "The L1 table is too short for the disk.",
                forced(size=513 * MIB), "L1 table has 1 entries", "the 2"),
        accepted("size-zero", "The disk is empty and has no L1 table.",
                 forced(size=0, l1_size=0, l1_offset=0), b""),
        Case("size-2-eib",
             "The largest disk there is, in a file of 200 bytes.",
             Qcow2(MIB, cluster_bits=21).set(
                 size=1 << 61, l1_size=1 << 22).build(200))
        .run(INFO, stdout=["(2305843009213693952 bytes)"], memory=32)
        .run(MAP, stdout=['"length": 2305843009213693952'], memory=96),
        refused("size-over-2-eib",
                "A size whose L1 table would be longer than the limit.",
                Qcow2(MIB, cluster_bits=21).set(
                    size=(1 << 61) + 512, l1_size=(1 << 22) + 1).build(200),
                "L1 table has 4194305 entries", "4194304"),
    ]


def l1_table():
    return [
        refused("l1-too-many-entries", "The L1 table is over the limit.",
                forced(l1_size=4194305), "L1 table has 4194305 entries",
                "4194304"),
        refused("l1-all-ones-entries",
                "The L1 table has the largest number of entries.",
                forced(l1_size=0xFFFFFFFF),
                "L1 table has 4294967295 entries", "4194304"),
        refused("l1-no-entries", "A disk of 1 MiB without an L1 table.",
                forced(l1_size=0), "L1 table has 0 entries", "the 1"),
        Case("l1-32-mib-in-200-bytes",
             "The L1 table claims 32 MiB, the file has 200 bytes.",
             Qcow2(MIB).set(l1_size=4194304).build(200))
        .run(INFO, memory=32).reads(zeroes(MIB), memory=32),
        refused("l1-unaligned", "The L1 table starts inside a cluster.",
                forced(l1_offset=0x30200), "L1 table at offset 197120",
                "65536"),
        accepted("l1-past-end",
                 "The L1 table lies past the end of the file: all zeroes.",
                 forced(l1_offset=1 << 40), zeroes(MIB)),
        refused("l1-offset-overflow",
                "The L1 table ends past the largest file offset.",
                forced(l1_offset=(1 << 63) - 65536, l1_size=8193),
                "L1 table of 65544 bytes at offset 9223372036854710272",
                str((1 << 63) - 1)),
        refused("l1-offset-all-ones",
                "The L1 table starts past the largest file offset.",
                forced(l1_offset=0xFFFFFFFFFFFF0000),
                "L1 table of 8 bytes at offset 18446744073709486080",
                str((1 << 63) - 1)),
        accepted("l1-over-header",
                 "The header is its own L1 table, which leads past the end.",
                 Qcow2(MIB).set(l1_offset=0).build(200), zeroes(MIB)),
    ]


def refcount_table():
    return [
        refused("refcount-table-unaligned",
                "The refcount table starts inside a cluster.",
                forced(refcount_table_offset=0x10200),
                "refcount table at offset 66048", "65536"),
        refused("refcount-table-too-long",
                "The refcount table is longer than 8 MiB.",
                forced(refcount_table_clusters=129),
                "refcount table has 8454144 bytes", "8388608"),
        refused("refcount-table-all-ones",
                "The refcount table has the largest number of clusters.",
                forced(refcount_table_clusters=0xFFFFFFFF),
                "refcount table has 281474976645120 bytes", "8388608"),
        refused("refcount-table-empty", "There is no refcount table.",
                forced(refcount_table_clusters=0),
                "refcount table has 0 clusters"),
        refused("refcount-table-overflow",
                "The refcount table ends past the largest file offset.",
                forced(refcount_table_offset=(1 << 63) - 65536,
                       refcount_table_clusters=2),
                "refcount table of 131072 bytes at offset",
                "9223372036854710272"),
        accepted("refcount-table-past-end",
                 "The refcount table lies past the end: reading needs none.",
                 forced(refcount_table_offset=1 << 40), zeroes(MIB)),
    ]


def states():
    content = b"d" * 65536
    dirty = Qcow2(MIB).data(0, content).set(incompatible=1, compatible=1)
    corrupt = Qcow2(MIB).data(0, content).set(incompatible=2)
    return [
        Case("state-dirty", "The last writer was killed.", dirty.build())
        .run(INFO, stdout=["cleanly shut down: no"])
        .reads(content + zeroes(MIB - 65536)),
        Case("state-corrupt", "A writer found damage and said so.",
             corrupt.build())
        .run(INFO, stdout=["corrupt: true"])
        .reads(content + zeroes(MIB - 65536)),
        Case("header-only", "The file is nothing but a magic and a version.",
             MAGIC + b"\0\0\0\2")
        .fails(INFO, "cluster_bits is 0", "9"),
    ]


def cases():
    return (identity() + cluster_bits() + header_length() + small_numbers()
            + features() + disk_size() + l1_table() + refcount_table()
            + states())
