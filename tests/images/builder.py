# SPDX-License-Identifier: MIT
"""
Builds QCOW images in memory, byte by byte, with any field forced.

An image starts valid: Qcow2(size) alone is an empty disk that every reader
accepts.  A case then breaks one thing, by set() for a header field, by
`extensions`, by poking an entry, or by patch() for raw bytes.  Nothing here
checks what it is told: lying is its purpose.
"""
import hashlib
import struct

MAGIC = b"QFI\xfb"
COPIED = 1 << 63
COMPRESSED = 1 << 62
ZERO = 1
SECTOR = 512

EXT_END = 0
EXT_BACKING_FORMAT = 0xE2792ACA
EXT_FEATURE_NAMES = 0x6803F857
EXT_BITMAPS = 0x23852875
EXT_CRYPTO = 0x0537BE77
EXT_DATA_FILE = 0x44415441

# Name, offset and struct format of each header field.
V2_FIELDS = [
    ("magic", 0, "4s"), ("version", 4, ">I"), ("backing_offset", 8, ">Q"),
    ("backing_bytes", 16, ">I"), ("cluster_bits", 20, ">I"),
    ("size", 24, ">Q"), ("crypt_method", 32, ">I"), ("l1_size", 36, ">I"),
    ("l1_offset", 40, ">Q"), ("refcount_table_offset", 48, ">Q"),
    ("refcount_table_clusters", 56, ">I"), ("snapshots", 60, ">I"),
    ("snapshots_offset", 64, ">Q"),
]
V3_FIELDS = [
    ("incompatible", 72, ">Q"), ("compatible", 80, ">Q"),
    ("autoclear", 88, ">Q"), ("refcount_order", 96, ">I"),
    ("header_length", 100, ">I"), ("compression_type", 104, ">B"),
]
V1_FIELDS = [
    ("magic", 0, "4s"), ("version", 4, ">I"), ("backing_offset", 8, ">Q"),
    ("backing_bytes", 16, ">I"), ("mtime", 20, ">I"), ("size", 24, ">Q"),
    ("cluster_bits", 32, ">B"), ("l2_bits", 33, ">B"),
    ("crypt_method", 36, ">I"), ("l1_offset", 40, ">Q"),
]


def be64s(values):
    """The values as a table of 64-bit big-endian entries."""
    return b"".join(struct.pack(">Q", value) for value in values)


def align(value, unit):
    """`value` rounded up to a multiple of `unit`."""
    return -(-value // unit) * unit


def pad(data, unit):
    """`data` with zeroes up to a multiple of `unit`."""
    return data.ljust(align(len(data), unit), b"\0")


def extension(kind, data=b"", length=None):
    """A header extension; `length` lies about the data's length."""
    stated = len(data) if length is None else length
    return struct.pack(">II", kind, stated) + pad(data, 8)


def feature_name(kind, bit, name):
    """One row of the feature name table."""
    return struct.pack(">BB46s", kind, bit, name)


class Pieces:
    """A file as bytes at offsets; what lies between them is zero."""

    def __init__(self):
        self.bytes = bytearray()

    def put(self, offset, data):
        if len(self.bytes) < offset + len(data):
            self.bytes.extend(bytes(offset + len(data) - len(self.bytes)))
        self.bytes[offset:offset + len(data)] = data

    def put_fields(self, fields, values):
        for name, offset, form in fields:
            self.put(offset, struct.pack(form, values[name]))


class Qcow2:
    """A QCOW2 image: header, refcounts and an L1 table, then what is added."""

    def __init__(self, size=1 << 20, version=3, cluster_bits=16,
                 extended=False):
        self.cluster = 1 << cluster_bits
        self.extended = extended
        self.entry_bytes = 16 if extended else 8
        self.reach = self.cluster * (self.cluster // self.entry_bytes)
        self.l1 = [0] * -(-size // self.reach)
        self.l2_offsets = {}
        self.extensions = []
        self.backing = b""
        self.pieces = Pieces()
        self.forced = {}
        self.end = 0
        self.header = {
            "magic": MAGIC, "version": version, "backing_offset": 0,
            "backing_bytes": 0, "cluster_bits": cluster_bits, "size": size,
            "crypt_method": 0, "l1_size": len(self.l1), "l1_offset": 0,
            "refcount_table_offset": self.cluster,
            "refcount_table_clusters": 1, "snapshots": 0,
            "snapshots_offset": 0, "incompatible": 16 if extended else 0,
            "compatible": 0, "autoclear": 0, "refcount_order": 4,
            "header_length": 112 if version >= 3 else 72,
            "compression_type": 0,
        }
        self.l1_offset = 3 * self.cluster
        self.end = self.l1_offset + align(8 * len(self.l1), self.cluster)

    # ---- Layout ----

    def add(self, data, gap=0):
        """Puts `data` at the next free cluster and returns its offset."""
        offset = self.end + gap
        self.pieces.put(offset, data)
        self.end = align(offset + max(len(data), 1), self.cluster)
        return offset

    def put(self, offset, data):
        self.pieces.put(offset, data)
        return self

    def set(self, **fields):
        """Forces header fields to values of the case's own."""
        self.forced.update(fields)
        return self

    def extend(self, kind, data=b"", length=None):
        """Adds a header extension."""
        self.extensions.append(extension(kind, data, length))
        return self

    def back(self, name, form=None):
        """Names a backing file, and its format unless that is None."""
        self.backing = name
        if form is not None:
            self.extend(EXT_BACKING_FORMAT, form)
        return self

    # ---- Mapping ----

    def entry_offset(self, guest_cluster):
        """Where the L2 entry of a guest cluster lies, made if missing."""
        per_table = self.cluster // self.entry_bytes
        index, slot = divmod(guest_cluster, per_table)
        if index not in self.l2_offsets:
            self.l2_offsets[index] = self.add(bytes(self.cluster))
            self.l1[index] = self.l2_offsets[index] | COPIED
        return self.l2_offsets[index] + slot * self.entry_bytes

    def map(self, guest_cluster, entry, bitmap=None):
        """Writes an L2 entry, with its subcluster bitmap where it has one."""
        raw = be64s([entry] if bitmap is None else [entry, bitmap])
        return self.put(self.entry_offset(guest_cluster), raw)

    def data(self, guest_cluster, data):
        """Stores a guest cluster as it is."""
        self.entry_offset(guest_cluster)
        offset = self.add(data)
        bitmap = 0xFFFFFFFF if self.extended else None
        return self.map(guest_cluster, offset | COPIED, bitmap)

    def descriptor(self, offset, length, sectors=None):
        """A compressed entry for `length` bytes at `offset`."""
        shift = 70 - self.header["cluster_bits"]
        if sectors is None:
            sectors = (offset + length - 1) // SECTOR - offset // SECTOR
        return COMPRESSED | sectors << shift | offset

    def compressed(self, guest_cluster, stream, sectors=None):
        """Stores `stream` for a guest cluster, as a compressed one."""
        self.entry_offset(guest_cluster)
        offset = self.add(stream)
        return self.map(guest_cluster,
                        self.descriptor(offset, len(stream), sectors))

    # ---- Parts with a structure of their own ----

    def snapshot_table(self, entries, count=None, gap=0):
        """Adds the snapshot table made of snapshot() results."""
        offset = self.add(b"".join(entries), gap)
        total = len(entries) if count is None else count
        return self.set(snapshots=total, snapshots_offset=offset)

    def bitmap_directory(self, entries, count=None, stated_bytes=None,
                         autoclear=1):
        """Adds the bitmap directory made of bitmap() results."""
        raw = b"".join(entries)
        offset = self.add(raw)
        self.extend(EXT_BITMAPS, struct.pack(
            ">IIQQ", len(entries) if count is None else count, 0,
            len(raw) if stated_bytes is None else stated_bytes, offset))
        return self.set(autoclear=autoclear)

    def luks(self, header, area_bytes, stated_bytes=None):
        """Adds a LUKS area that starts with `header`."""
        offset = self.add(header.ljust(area_bytes, b"\0"))
        self.extend(EXT_CRYPTO, struct.pack(
            ">QQ", offset,
            area_bytes if stated_bytes is None else stated_bytes))
        return self.set(crypt_method=2)

    # ---- The result ----

    def first_cluster(self):
        """The extensions, the end mark and the backing name."""
        area = b"".join(self.extensions) + extension(EXT_END)
        if self.backing:
            at = self.header["header_length"] + len(area)
            self.header["backing_offset"] = at
            self.header["backing_bytes"] = len(self.backing)
        return area + self.backing

    def refcounts(self):
        """Counts of one for every cluster up to the end of the file."""
        used = align(max(len(self.pieces.bytes), 1), self.cluster)
        counts = min(used // self.cluster, self.cluster // 2)
        self.pieces.put(self.cluster, be64s([2 * self.cluster]))
        self.pieces.put(2 * self.cluster, b"\0\1" * counts)

    def build(self, length=None):
        """The image's bytes, cut or grown to `length` where that is given."""
        area = self.first_cluster()
        if self.l1:
            self.header["l1_offset"] = self.l1_offset
            self.pieces.put(self.l1_offset, be64s(self.l1))
        self.refcounts()
        values = {**self.header, **self.forced}
        v3 = self.header["version"] >= 3
        self.pieces.put_fields(V2_FIELDS + (V3_FIELDS if v3 else []), values)
        self.pieces.put(self.header["header_length"], area)
        image = bytes(self.pieces.bytes)
        return image if length is None else image[:length].ljust(length, b"\0")


class Qcow1:
    """A QCOW version 1 image."""

    def __init__(self, size=1 << 16, cluster_bits=12, l2_bits=9):
        self.cluster = 1 << cluster_bits
        self.reach = 1 << (cluster_bits + l2_bits)
        self.l1 = [0] * -(-size // self.reach)
        self.header = {
            "magic": MAGIC, "version": 1, "backing_offset": 0,
            "backing_bytes": 0, "mtime": 0, "size": size,
            "cluster_bits": cluster_bits, "l2_bits": l2_bits,
            "crypt_method": 0, "l1_offset": 48,
        }
        self.forced = {}
        self.backing = b""
        self.l2_bytes = 8 << l2_bits
        self.l2_offset = 0
        self.pieces = Pieces()
        self.end = align(48 + 1024 + 8 * len(self.l1), self.cluster)

    def set(self, **fields):
        self.forced.update(fields)
        return self

    def put(self, offset, data):
        self.pieces.put(offset, data)
        return self

    def add(self, data):
        """Puts `data` at the next free cluster and returns its offset."""
        offset = self.end
        self.pieces.put(offset, data)
        self.end = align(offset + max(len(data), 1), self.cluster)
        return offset

    def map(self, guest_cluster, entry):
        """Writes an L2 entry; only the first L2 table is ever needed."""
        if self.l2_offset == 0:
            self.l2_offset = self.add(bytes(self.l2_bytes))
            self.l1[0] = self.l2_offset
        return self.put(self.l2_offset + 8 * guest_cluster, be64s([entry]))

    def data(self, guest_cluster, data):
        return self.map(guest_cluster, self.add(data))

    def compressed(self, guest_cluster, stream):
        """Stores `stream` for a guest cluster, as a compressed one."""
        shift = 63 - self.header["cluster_bits"]
        entry = 1 << 63 | len(stream) << shift | self.add(stream)
        return self.map(guest_cluster, entry)

    def build(self, length=None):
        if self.backing:
            self.header["backing_offset"] = 48
            self.header["backing_bytes"] = len(self.backing)
            self.header["l1_offset"] = align(48 + len(self.backing), 8)
        self.pieces.put_fields(V1_FIELDS, {**self.header, **self.forced})
        self.pieces.put(48, self.backing)
        self.pieces.put(self.header["l1_offset"], be64s(self.l1))
        image = bytes(self.pieces.bytes)
        return image if length is None else image[:length].ljust(length, b"\0")


# ---- Table entries ----

def snapshot(number=b"1", name=b"first", l1_offset=0, l1_size=0, size=1 << 20,
             extra=None, extra_bytes=None, id_bytes=None, name_bytes=None):
    """A snapshot table entry; the *_bytes lie about lengths."""
    if extra is None:
        extra = struct.pack(">QQQ", 0, size, 0)
    fixed = struct.pack(
        ">QIHHIIQII", l1_offset, l1_size,
        len(number) if id_bytes is None else id_bytes,
        len(name) if name_bytes is None else name_bytes,
        1500000000, 0, 0, 0,
        len(extra) if extra_bytes is None else extra_bytes)
    return pad(fixed + extra + number + name, 8)


def bitmap(table_offset, table_entries=1, flags=2, kind=1, granularity=16,
           name=b"b0", extra=b"", name_bytes=None):
    """A bitmap directory entry."""
    fixed = struct.pack(
        ">QIIBBHI", table_offset, table_entries, flags, kind, granularity,
        len(name) if name_bytes is None else name_bytes, len(extra))
    return pad(fixed + extra + name, 8)


# ---- LUKS ----

LUKS_SLOT_SECTORS = 504
LUKS_PAYLOAD_SECTORS = 4040
LUKS_AREA_BYTES = LUKS_PAYLOAD_SECTORS * SECTOR


def luks_slot(index, state=0x0000DEAD, iterations=0, stripes=4000,
              offset_sectors=None):
    """One key slot of the LUKS header."""
    if offset_sectors is None:
        offset_sectors = 8 + index * LUKS_SLOT_SECTORS
    salt = b"s" * 32 if state == 0x00AC71F3 else bytes(32)
    return struct.pack(">II32sII", state, iterations, salt, offset_sectors,
                       stripes)


def luks_header(cipher=b"aes", mode=b"xts-plain64", digest=b"sha256",
                key_bytes=64, iterations=1000, magic=b"LUKS\xba\xbe",
                version=1, payload_sectors=LUKS_PAYLOAD_SECTORS,
                slots=(), fill=b"\0"):
    """
    A LUKS1 header for the volume key of all k's.  `slots` maps an index to the
    luks_slot() that takes its place; without it slot 0 is active.  `fill` pads
    the three names.
    """
    salt = b"m" * 32
    known = hashlib.pbkdf2_hmac("sha256", b"k" * 64, salt,
                                iterations if 0 < iterations < 10000 else 1,
                                20)
    table = {0: luks_slot(0, 0x00AC71F3, 1000), **dict(slots)}
    head = struct.pack(
        ">6sH32s32s32sII20s32sI40s", magic, version, cipher.ljust(32, fill),
        mode.ljust(32, fill), digest.ljust(32, fill), payload_sectors,
        key_bytes, known, salt, iterations,
        b"11111111-2222-3333-4444-555555555555")
    return head + b"".join(table.get(i, luks_slot(i)) for i in range(8))
