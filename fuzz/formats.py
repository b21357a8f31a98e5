# SPDX-License-Identifier: MIT
"""The formats in few words: pieces of images, and images, for make_seeds.py."""
import hashlib
import struct
import zlib

MAGIC = b"QFI\xfb"
COPIED = 1 << 63
COMPRESSED = 1 << 62
PROBED, RAW, QCOW, QCOW2 = range(4)  # how open_read is told the format


def be16(*values):
    return struct.pack(">%dH" % len(values), *values)


def be32(*values):
    return struct.pack(">%dI" % len(values), *values)


def be64(*values):
    return struct.pack(">%dQ" % len(values), *values)


def pad(data, multiple):
    return data + bytes(-len(data) % multiple)


def place(*parts):
    """A file of (offset, bytes) parts."""
    image = bytearray(max(offset + len(data) for offset, data in parts))
    for offset, data in parts:
        image[offset:offset + len(data)] = data
    return bytes(image)


def text(length):
    """Bytes that compress, but not to nothing."""
    return b"".join(b"%d," % (i * i) for i in range(length))[:length]


def noise(length):
    """Bytes that do not compress at all."""
    return b"".join(hashlib.sha256(b"%d" % i).digest()
                    for i in range(length // 32 + 1))[:length]


# ---- Streams ----

def deflate(data, window_bits=-12):
    packer = zlib.compressobj(9, zlib.DEFLATED, window_bits)
    return packer.compress(data) + packer.flush()


def zstd_raw(data, single=True, checksum=False):
    """A frame of one stored block; the compressed ones are left to the fuzzer."""
    header = b"\x28\xb5\x2f\xfd"
    if single:
        header += b"\x60" + struct.pack("<H", len(data) - 256)
    else:
        header += bytes([4 if checksum else 0, 0x30])
    block = struct.pack("<I", 1 | len(data) << 3)[:3] + data
    return header + block + (bytes(4) if checksum else b"")


def zstd_rle(byte, length):
    """A frame of one block that repeats a byte."""
    return (b"\x28\xb5\x2f\xfd\x00\x30" +
            struct.pack("<I", 1 | 1 << 1 | length << 3)[:3] + byte)


# 2048 bytes in one frame with a compressed block, which Python cannot make.
ZSTD_COMPRESSED = bytes.fromhex(
    "28b52ffd6000073d01000243070ab0b90104e91ae319037811b77675937bb101"
    "f668f6e29527eeaef9860100d0fcfc1514")


# ---- Version 1 ----

def header1(cluster_bits=9, l2_bits=6, size=65536, crypt=0, l1_offset=48,
            backing=(0, 0)):
    return (MAGIC + be32(1) + be64(backing[0]) + be32(backing[1], 0) +
            be64(size) + bytes([cluster_bits, l2_bits, 0, 0]) + be32(crypt) +
            be64(l1_offset))


def image1(crypt=0):
    stream = deflate(text(512))
    compressed = COPIED | len(stream) << 54 | 0x600
    l2 = be64(0x400, 0, compressed, 0x200)
    return place((0, header1(crypt=crypt)), (48, be64(0x200)), (0x200, l2),
                 (0x400, text(512)), (0x600, stream))


def image1_backing():
    return place((0, header1(backing=(0x300, 8))), (0x300, b"base.raw"))


# ---- Versions 2 and 3 ----

def header2(version=3, cluster_bits=9, size=65536, crypt=0, l1=(1, 0x200),
            refcount=(0x400, 1), snapshots=(0, 0), backing=(0, 0),
            incompatible=0, compatible=0, autoclear=0, order=4, length=112,
            compression=0):
    header = (MAGIC + be32(version) + be64(backing[0]) + be32(backing[1]) +
              be32(cluster_bits) + be64(size) + be32(crypt, l1[0]) +
              be64(l1[1], refcount[0]) + be32(refcount[1], snapshots[0]) +
              be64(snapshots[1]))
    if version == 2:
        return header
    header += be64(incompatible, compatible, autoclear) + be32(order, length)
    header += bytes([compression])
    return header[:length] + bytes(max(0, length - len(header)))


def extension(kind, data):
    return pad(be32(kind, len(data)) + data, 8)


END = be32(0, 0)
BACKING_FORMAT, FEATURES, BITMAPS, CRYPTO, DATA_FILE = (
    0xe2792aca, 0x6803f857, 0x23852875, 0x0537be77, 0x44415441)
FEATURE_NAMES = b"".join(
    bytes([kind, bit]) + name.ljust(46, b"\0")
    for kind, bit, name in ((0, 0, b"dirty bit"), (0, 4, b"extended L2 entries"),
                            (1, 0, b"lazy refcounts"), (2, 0, b"bitmaps")))


def compressed_entry(offset, length, cluster_bits):
    more = (offset + length - 1) // 512 - offset // 512
    return COMPRESSED | more << (70 - cluster_bits) | offset


def image2(version=3, compression=0, crypt=0, extensions=END, **fields):
    """All kinds of standard entries in one L2 table, at 0x600."""
    stream = zstd_raw(text(512)) if compression else deflate(text(512))
    entries = [0xa00 | COPIED, 0, compressed_entry(0xc80, len(stream), 9),
               compressed_entry(0xc80, len(stream), 9), 0xe00 | COPIED]
    if version == 3:
        entries += [1, 0x1000 | 1, 1]
    incompatible = fields.pop("incompatible", 0) | (8 if compression else 0)
    head = header2(version=version, crypt=crypt, compression=compression,
                   incompatible=incompatible, l1=(16, 0x200), **fields)
    return place((0, head + extensions), (0x200, be64(0x600 | COPIED)),
                 (0x400, be64(0x800)), (0x600, be64(*entries)),
                 (0x800, be16(*[1] * 16)), (0xa00, text(512)),
                 (0xc80, stream), (0xe00, bytes(range(256))))


def image3_extended(compression=0):
    """Every legal and illegal state of subclusters, in 16 KiB clusters."""
    cluster = 1 << 14
    stream = zstd_rle(b"z", cluster) if compression else deflate(text(cluster))
    words = [3 * cluster | COPIED, 0x0000ffff,
             3 * cluster | COPIED, 0xf0f0f0f00f0f0f0f,
             3 * cluster | COPIED, 0,
             0, 0xffffffff00000000,
             0, 0,
             compressed_entry(3 * cluster + 700, len(stream), 14), 0,
             3 * cluster, 0x0000000100000001,
             0, 1]
    head = header2(cluster_bits=14, size=64 * cluster, l1=(1, cluster),
                   refcount=(8 * cluster, 1), compression=compression,
                   incompatible=16 | (8 if compression else 0))
    return place((0, head + END), (cluster, be64(2 * cluster | COPIED)),
                 (2 * cluster, be64(*words)), (3 * cluster, text(700)),
                 (3 * cluster + 700, stream))


def image3_large_clusters():
    """2 MiB clusters, of which the file holds only the header."""
    head = header2(cluster_bits=21, size=1 << 40, l1=(2, 0),
                   refcount=(1 << 21, 1))
    return head + END


def image3_long_header():
    head = header2(l1=(16, 0x200), length=120)
    return place((0, head + extension(0x12345678, b"kept") + END),
                 (0x200, bytes(8)))


def image_backing(version):
    extensions = extension(BACKING_FORMAT, b"raw") + END
    head = header2(version=version, backing=(0x100, 8), l1=(16, 0x200))
    return place((0, head + extensions), (0x100, b"base.raw"), (0x200, bytes(8)))


def image_data_file():
    extensions = extension(DATA_FILE, b"data.raw") + END
    return image2(incompatible=4, autoclear=2, extensions=extensions)


def snapshot(identity, name, l1=(0x1400, 16), extra=b""):
    fixed = (be64(l1[0]) + be32(l1[1]) + be16(len(identity), len(name)) +
             be32(1700000000, 5) + be64(123456789) + be32(0, len(extra)))
    return pad(fixed + extra + identity + name, 8)


SNAPSHOTS = (snapshot(b"1", b"first", extra=be64(0, 32768, 0)) +
             snapshot(b"2", b"", extra=be64(7, 65536, 1) + b"unknown") +
             snapshot(b"3", b"same", extra=be64(0, 65536)))


def image_snapshots(version):
    table = SNAPSHOTS if version == 3 else snapshot(b"1", b"old") * 2
    image = image2(version=version,
                   snapshots=(3 if version == 3 else 2, 0x1200))
    return place((0, image), (0x1200, table), (0x1400, be64(0x600)))


def bitmap_entry(name, table=(0x1600, 1), flags=2, granularity=12):
    return pad(be64(table[0]) + be32(table[1], flags) +
               bytes([1, granularity]) + be16(len(name)) + be32(0) + name, 8)


DIRECTORY = bitmap_entry(b"daily") + bitmap_entry(b"in use", flags=1)


def image_bitmaps():
    payload = be32(2, 0) + be64(len(DIRECTORY), 0x1200)
    extensions = (extension(FEATURES, FEATURE_NAMES) +
                  extension(BITMAPS, payload) + END)
    return place((0, image2(autoclear=1, extensions=extensions)),
                 (0x1200, DIRECTORY), (0x1600, be64(1)))


# ---- LUKS ----

# The master key that all-zero key material gives for the passphrase "fuzz",
# an all-zero salt and one iteration, in aes-cbc-plain64 with 16-byte keys.
LUKS_MASTER_KEY = bytes.fromhex("ed2128b31408b2ef7353aa83fbd49ddc")
LUKS_AREA = (8 + 125) * 512


def luks_header(cipher=b"aes", mode=b"cbc-plain64", hash_name="sha256",
                key_bytes=16):
    digest = hashlib.pbkdf2_hmac(hash_name, LUKS_MASTER_KEY, bytes(32), 1, 20)
    slots = be32(0x00ac71f3, 1) + bytes(32) + be32(8, 4000)
    slots += (be32(0x0000dead, 0) + bytes(32) + be32(8, 4000)) * 7
    return (b"LUKS\xba\xbe" + be16(1) + cipher.ljust(32, b"\0") +
            mode.ljust(32, b"\0") + hash_name.encode().ljust(32, b"\0") +
            be32(LUKS_AREA // 512, key_bytes) + digest + bytes(32) + be32(1) +
            b"01234567-89ab-cdef-0123-456789abcdef".ljust(40, b"\0") + slots)


def image_luks():
    area = 0x1200
    extensions = extension(CRYPTO, be64(area, LUKS_AREA)) + END
    return place((0, image2(crypt=2, extensions=extensions)),
                 (area, luks_header()), (area + LUKS_AREA - 1, b"\0"))
