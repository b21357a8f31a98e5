# SPDX-License-Identifier: MIT
"""Header extensions that lie about their length or contents."""
from builder import (EXT_BACKING_FORMAT, EXT_BITMAPS, EXT_CRYPTO,
                     EXT_FEATURE_NAMES, Qcow2, feature_name)
from hazards.case import INFO, Case, accepted, refused, zeroes

MIB = 1 << 20
UNKNOWN = 0x12345678


def lengths():
    filler = bytes(512 - 112 - 8)
    crossing = Qcow2(MIB, cluster_bits=9).extend(UNKNOWN, filler,
                                                 len(filler) + 1)
    full = Qcow2(MIB, cluster_bits=9).extend(UNKNOWN, filler)
    into_name = Qcow2(MIB).extend(UNKNOWN, b"x" * 8, 24).back(b"base")
    return [
        refused("extension-crosses-cluster",
                "An extension ends one byte behind the first cluster.",
                crossing.build(), "extension 0x12345678 has 393 bytes", "392"),
        refused("extension-crosses-backing-name",
                "An extension reaches into the backing file's name.",
                into_name.build(), "extension 0x12345678 has 24 bytes", "16"),
        refused("extension-length-all-ones",
                "An extension has the largest length.",
                Qcow2(MIB).extend(UNKNOWN, b"", 0xFFFFFFFF).build(),
                "extension 0x12345678 has 4294967295 bytes"),
        refused("extension-length-wraps",
                "An extension's length wraps round when it is padded.",
                Qcow2(MIB).extend(UNKNOWN, b"", 0xFFFFFFF9).build(),
                "extension 0x12345678 has 4294967289 bytes"),
        accepted("extension-end-missing",
                 "The extensions fill the cluster: nothing marks their end.",
                 full.build(), zeroes(MIB)),
        accepted("extension-after-end",
                 "What follows the end mark is no extension.",
                 Qcow2(MIB).extend(0).extend(UNKNOWN, b"", 0xFFFFFFFF)
                 .build(), zeroes(MIB)),
        accepted("extension-thousands",
                 "The first cluster is full of empty extensions.",
                 Qcow2(MIB).put(112, b"\x12\x34\x56\x78\0\0\0\0" * 8178)
                 .extend(UNKNOWN).build(), zeroes(MIB)),
    ]


def contents():
    ragged = feature_name(0, 41, b"time travel") + b"\0\x28half a row"
    return [
        accepted("feature-table-ragged",
                 "The feature name table ends inside a row.",
                 Qcow2(MIB).extend(EXT_FEATURE_NAMES, ragged).build(),
                 zeroes(MIB)),
        refused("feature-table-ragged-row",
                "The name of the unknown feature is in a row cut short.",
                Qcow2(MIB).extend(EXT_FEATURE_NAMES, ragged)
                .set(incompatible=1 << 40).build(),
                "incompatible feature", "10000000000"),
        refused("backing-format-16-bytes",
                "The backing format's name is longer than any there is.",
                Qcow2(MIB).back(b"base", b"sixteen-bytes-xx").build(),
                "backing format has 16 bytes", "15"),
        refused("crypto-extension-without-luks",
                "A LUKS header is named, but the disk is not encrypted.",
                Qcow2(MIB).extend(EXT_CRYPTO, bytes(16)).build(),
                "crypto header extension", "encryption method is 0"),
        refused("crypto-extension-short",
                "The extension that names the LUKS header is cut short.",
                Qcow2(MIB).extend(EXT_CRYPTO, bytes(8))
                .set(crypt_method=2).build(), "extension has 8 bytes", "16"),
        Case("bitmaps-extension-short",
             "The bitmaps extension is cut short.",
             Qcow2(MIB).extend(EXT_BITMAPS, bytes(16))
             .set(autoclear=1).build())
        .fails(INFO, "bitmaps extension has 16 bytes", "24"),
        accepted("backing-format-without-backing",
                 "A backing format is recorded, but there is no backing file.",
                 Qcow2(MIB).extend(EXT_BACKING_FORMAT, b"vmdk").build(),
                 zeroes(MIB)),
    ]


def cases():
    return lengths() + contents()
