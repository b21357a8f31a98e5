# SPDX-License-Identifier: MIT
"""
QCOW2 images that are right in every count and flag, to be damaged in one place.

Sound counts what refers to each cluster while the image is put together, so
that it may have any refcount width and cluster size, snapshots, bitmaps.  Then
a case forces a count(), or bytes with poke(), which is done last of all.
"""
import collections
import struct

from builder import COPIED, EXT_BITMAPS, Qcow2, be64s, bitmap, snapshot

MIB = 1 << 20


def pack_counts(counts, order):
    """Refcounts as a block holds them, the lowest bits of a byte first."""
    bits = 1 << order
    if bits >= 8:
        return b"".join(count.to_bytes(bits // 8, "big") for count in counts)
    value = 0
    for index, count in enumerate(counts):
        value |= count << index * bits
    return value.to_bytes(-(-len(counts) * bits // 8), "little")


class Sound(Qcow2):
    """A QCOW2 image that QEMU's check is content with, until it is damaged."""

    def __init__(self, size=MIB, refcount_order=4, **shape):
        super().__init__(size, **shape)
        self.header["refcount_order"] = refcount_order
        self.uses = collections.Counter({0: 1, 1: 1, 2: 1})
        self.use(self.l1_offset, 8 * len(self.l1))
        self.contents = {}
        self.hosts = {}
        self.snapshot_entries = []
        self.bitmap_entries = []
        self.blocks = [2 * self.cluster]
        self.forced_counts = {}
        self.pokes = []

    # ---- What is counted ----

    def use(self, offset, length=1, count=1):
        """Counts references to all clusters of a range."""
        last = (offset + max(length, 1) - 1) // self.cluster
        for cluster in range(offset // self.cluster, last + 1):
            self.uses[cluster] += count

    def add(self, data, gap=0):
        offset = super().add(data, gap)
        self.use(offset, len(data))
        return offset

    # ---- What is on the disk ----

    def fill(self, guest_cluster, letter):
        """A guest cluster of one letter; returns where it is."""
        content = letter * self.cluster
        self.data(guest_cluster, content)
        self.contents[guest_cluster] = content
        self.hosts[guest_cluster] = self.end - self.cluster
        return self.hosts[guest_cluster]

    def squeeze(self, guest_cluster, letter, stream):
        """The same, compressed to `stream`."""
        self.compressed(guest_cluster, stream)
        self.contents[guest_cluster] = letter * self.cluster
        self.hosts[guest_cluster] = self.end - self.cluster
        return self.hosts[guest_cluster]

    def disk(self):
        """What the whole disk must read as."""
        empty = bytes(self.cluster)
        count = -(-self.header["size"] // self.cluster)
        whole = b"".join(self.contents.get(i, empty) for i in range(count))
        return whole[:self.header["size"]]

    # ---- Snapshots and bitmaps ----

    def share(self, name=b"first"):
        """A snapshot of the disk as it is: all of it now has two owners."""
        for index, table in self.l2_offsets.items():
            self.use(table)
            self.l1[index] &= ~COPIED
        for guest, host in self.hosts.items():
            self.use(host)
            at = self.entry_offset(guest)
            entry, = struct.unpack_from(">Q", self.pieces.bytes, at)
            self.pieces.put(at, be64s([entry & ~COPIED]))
        return self.note_snapshot(name, self.add(be64s(self.l1)))

    def own(self, name=b"first", letter=b"o"):
        """A snapshot with clusters of its own: one letter, then zeroes."""
        data = self.add(letter * self.cluster)
        table = self.add(be64s([data | COPIED]).ljust(self.cluster, b"\0"))
        self.own_table = table
        self.own_data = data
        return self.note_snapshot(name, self.add(be64s([table | COPIED])))

    def note_snapshot(self, name, l1_offset, **fields):
        number = b"%d" % (len(self.snapshot_entries) + 1)
        self.snapshot_entries.append(
            snapshot(number, name, **{
                "l1_offset": l1_offset, "l1_size": len(self.l1),
                "size": self.header["size"], **fields}))
        return l1_offset

    def note_bitmap(self, name=b"b0", data=b"\1", **fields):
        """A bitmap whose only table entry points to a cluster of `data`."""
        self.bits = self.add(data.ljust(self.cluster, b"\0"))
        self.bitmap_table = self.add(be64s([self.bits]))
        self.bitmap_entries.append(bitmap(self.bitmap_table, name=name,
                                          **fields))
        return self.bitmap_table

    def finish_parts(self):
        """The tables of what was noted, once."""
        if self.snapshot_entries:
            self.snapshot_table(self.snapshot_entries)
            self.snapshots_at = self.forced["snapshots_offset"]
            self.snapshot_entries = []
        if self.bitmap_entries:
            raw = b"".join(self.bitmap_entries)
            self.directory_at = self.add(raw)
            self.extend(EXT_BITMAPS, struct.pack(
                ">IIQQ", len(self.bitmap_entries), 0, len(raw),
                self.directory_at))
            self.set(autoclear=self.forced.get("autoclear", 0) | 1)
            self.bitmap_entries = []
        return self

    # ---- Damage ----

    def count(self, offset, value):
        """Forces the refcount of the cluster at `offset`."""
        self.forced_counts[offset // self.cluster] = value
        return self

    def poke(self, offset, data):
        """Overwrites bytes of the finished image."""
        self.pokes.append((offset, data))
        return self

    def l2_at(self, guest_cluster):
        """Where the L2 entry of a guest cluster is."""
        return self.entry_offset(guest_cluster)

    def entry_of(self, guest_cluster):
        """The L2 entry of a guest cluster, as it is."""
        at = self.entry_offset(guest_cluster)
        return struct.unpack_from(">Q", self.pieces.bytes, at)[0]

    def poke_entry(self, guest_cluster, entry, bitmap_word=None):
        """Overwrites an L2 entry of the finished image."""
        words = [entry] if bitmap_word is None else [entry, bitmap_word]
        return self.poke(self.l2_at(guest_cluster), be64s(words))

    # ---- The result ----

    def per_block(self):
        return self.cluster * 8 >> self.header["refcount_order"]

    def place_blocks(self):
        """Adds blocks until they count themselves too."""
        while True:
            top = max(self.uses) + 1
            if len(self.blocks) * self.per_block() >= top:
                return
            self.blocks.append(self.add(bytes(self.cluster)))

    def refcounts(self):
        self.finish_parts()
        self.place_blocks()
        self.pieces.put(self.cluster, be64s(self.blocks))
        counts = {**self.uses, **self.forced_counts}
        for index, block in enumerate(self.blocks):
            first = index * self.per_block()
            self.pieces.put(block, pack_counts(
                [counts.get(first + i, 0) for i in range(self.per_block())],
                self.header["refcount_order"]))
        if len(self.pieces.bytes) < self.end:
            self.pieces.put(self.end - 1, b"\0")

    def build(self, length=None):
        self.finish_parts()
        image = bytearray(super().build())
        for offset, data in self.pokes:
            if len(image) < offset + len(data):
                image.extend(bytes(offset + len(data) - len(image)))
            image[offset:offset + len(data)] = data
        image = bytes(image)
        return image if length is None else image[:length].ljust(length, b"\0")
