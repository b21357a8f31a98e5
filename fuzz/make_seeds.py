#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes a small corpus for each fuzz target, from nothing but the formats.

    make_seeds.py FOLDER

Images are tiny: 512-byte clusters where the format allows, and files that end
where their last byte is, since what lies behind reads as zeroes.
"""
import os
import sys

sys.dont_write_bytecode = True  # the tree of the sources stays as it is

from formats import *
from sound_images import writes

# ---- Targets ----

def images():
    tell = lambda how, image: bytes([how]) + image
    return {
        "raw": tell(RAW, text(3000)),
        "v1": tell(PROBED, image1()),
        "v1-aes": tell(QCOW, image1(crypt=1)),
        "v1-backing": tell(QCOW, image1_backing()),
        "v2": tell(PROBED, image2(version=2)),
        "v2-aes": tell(QCOW2, image2(version=2, crypt=1)),
        "v2-backing": tell(QCOW2, image_backing(2)),
        "v2-snapshots": tell(QCOW2, image_snapshots(2)),
        "v3": tell(QCOW2, image2()),
        "v3-zstd": tell(QCOW2, image2(compression=1)),
        "v3-backing": tell(QCOW2, image_backing(3)),
        "v3-bitmaps": tell(QCOW2, image_bitmaps()),
        "v3-data-file": tell(QCOW2, image_data_file()),
        "v3-dirty": tell(QCOW2, image2(incompatible=3, compatible=1)),
        "v3-extended": tell(QCOW2, image3_extended()),
        "v3-extended-zstd": tell(QCOW2, image3_extended(compression=1)),
        "v3-large-clusters": tell(QCOW2, image3_large_clusters()),
        "v3-long-header": tell(QCOW2, image3_long_header()),
        "v3-luks": tell(QCOW2, image_luks()),
        "v3-snapshots": tell(QCOW2, image_snapshots(3)),
    }


def entries():
    words = be64(0x50000 | COPIED, 1, 0x50001, 0, COPIED, 0x5100000000050000)
    pairs = be64(0x50000, 0xffffffff, 0x50000, 0xffff0000, 0, 0xffffffff << 32,
                 0x50000, 0x100000001)
    return {
        "v2": b"\x01\x07" + words,
        "v3": b"\x00\x07" + words,
        "extended": b"\x02\x02" + pairs,
        "data-file": b"\x04\x07" + words,
    }


def json_names():
    file_node = '"file":{"driver":"file","filename":"a"}'
    names = {
        "path": "folder/disk.qcow2",
        "file": "file:disk.raw",
        "protocol": "nbd:localhost:10809",
        "nested": 'json:{"driver":"qcow2",%s}' % file_node,
        "dotted": 'json:{"driver":"raw","offset":512,"size":"1024",'
                  '"file.driver":"host_device","file.filename":"/dev/x"}',
        "backing": 'json:{"driver":"qcow2",%s,"backing":{"driver":"raw",%s}}'
                   % (file_node, file_node),
        "no-backing": 'json:{"driver":"qcow2",%s,"backing":null}' % file_node,
        "data-file": 'json:{"driver":"qcow2",%s,"data-file":'
                     '{"driver":"file","filename":"d"}}' % file_node,
        "secret": 'json:{"driver":"qcow","encrypt":{"format":"aes",'
                  '"key-secret":"s"},%s}' % file_node,
        "deep": "json:" + '{"driver":"raw","file":' * 20 + "{}" + "}" * 20,
    }
    return {name: value.encode() for name, value in names.items()}


def seeds():
    plain = text(512)
    return {
        "header1": {"plain": image1(), "backing": image1_backing()},
        "header2": {
            "v2": header2(version=2),
            "v3": header2(),
            "v3-104": header2(length=104),
            "v3-120": header2(length=120),
            "v3-zstd": header2(compression=1, incompatible=8),
            "backing": image_backing(3),
        },
        "extensions": {
            "all": b"\x00\x00" + extension(BACKING_FORMAT, b"raw") +
                   extension(DATA_FILE, b"data.raw") +
                   extension(CRYPTO, be64(0x200, 4096)) +
                   extension(FEATURES, FEATURE_NAMES) +
                   extension(BITMAPS, be32(1, 0) + be64(24, 0x200)) + END,
            "no-end": b"\x07\x00" + extension(0x12345678, b"unknown"),
        },
        "entry": entries(),
        "refcount": {
            "order-%d" % order: bytes([order, order]) +
                                be64(0x10000, (1 << (1 << order)) - 1) +
                                be16(order * 3) + bytes(range(256)) * 2
            for order in range(7)
        },
        "snapshot": {"three": be64(65536) + b"\x00" + SNAPSHOTS,
                     "old": be64(65536) + b"\x07" + snapshot(b"1", b"old")},
        "bitmap": {"two": be64(1, 65536) + b"\x00" + DIRECTORY,
                   "table": be64(0x10000, 65536) + b"\x07"},
        "luks1_header": {
            "cbc": be64(LUKS_AREA) + luks_header(),
            "xts": be64(1 << 22) + luks_header(mode=b"xts-plain64",
                                               key_bytes=64),
            "essiv": be64(1 << 22) + luks_header(mode=b"cbc-essiv:sha256",
                                                 key_bytes=32),
            "cast5": be64(1 << 22) + luks_header(cipher=b"cast5", mode=b"ecb"),
        },
        "decoder_deflate": {
            "exact": b"\x00" + deflate(plain),
            "longer": b"\x00" + deflate(text(2000)),
            "shorter": b"\x00" + deflate(text(500)),
            "stored": b"\x00\x00\x00\x02\xff\xfd" + plain,
            "fixed": b"\x00" + deflate(b"a" * 512),
            "far": b"\x07" + deflate(bytes(65536), -15),
        },
        "decoder_zstd": {
            "single": b"\x00" + zstd_raw(plain),
            "window": b"\x00" + zstd_raw(plain, single=False),
            "checksum": b"\x00" + zstd_raw(plain, False, True),
            "two": b"\x01" + zstd_raw(plain) + zstd_rle(b"a", 512),
            "skippable": b"\x00\x50\x2a\x4d\x18\x03\0\0\0abc" + zstd_raw(plain),
            "real": b"\x02" + ZSTD_COMPRESSED,
        },
        "encoder": {
            "deflate": b"\x00\x00\x03\x01\x00" + text(1000),
            "zstd": b"\x01\x00\x03\x01\x00" + text(1000),
            "zeroes": b"\x00\x09\x07\xff\xff",
            "no-room": b"\x01\x01\x00\x00\x00" + plain,
            "noise": b"\x00\x06\x00\x01\xff" + noise(512),
            "past-window": b"\x00\x09\x07\x80\x00" + noise(4200),
        },
        "json_name": json_names(),
        "open_read": images(),
        "open_write": writes(),
        "check": writes(),
    }


def main():
    for target, files in seeds().items():
        folder = os.path.join(sys.argv[1], target)
        os.makedirs(folder, exist_ok=True)
        for name, data in files.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)


if __name__ == "__main__":
    main()
