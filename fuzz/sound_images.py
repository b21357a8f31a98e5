# SPDX-License-Identifier: MIT
"""Images whose tables are right, and scripts that write to them (open_write.c)."""
from formats import *


# ---- Images ----

class Sound:
    """An image whose refcounts and flags are right, built cluster by cluster."""

    def __init__(self, cluster_bits=9, order=4, **fields):
        self.bits, self.order, self.fields = cluster_bits, order, fields
        self.cluster = 1 << cluster_bits
        self.entry_bytes = 16 if fields.get("incompatible", 0) & 16 else 8
        self.l1_range = self.cluster // self.entry_bytes * self.cluster
        self.parts, self.counts = [], [1, 1, 1, 1]
        self.extensions = END
        self.l1 = [0] * -(-fields.get("size", 65536) // self.l1_range)

    def take(self, data, count=1):
        """Places the data in clusters of its own."""
        offset = len(self.counts) * self.cluster
        self.parts.append((offset, data))
        self.counts += [count] * -(-len(data) // self.cluster)
        return offset

    def table(self, index, words, count=1):
        """An L2 table for an entry of the L1 table."""
        offset = self.take(pad(be64(*words), self.cluster), count)
        self.l1[index] = offset | (COPIED if count == 1 else 0)
        return offset

    def data(self, data, count=1):
        return self.take(data, count) | (COPIED if count == 1 else 0)

    def refcounts(self):
        width = 1 << self.order
        packed = 0
        for i, count in enumerate(self.counts):
            at = i * width
            if width < 8:  # the first is in the low bits
                packed |= count << at
            else:
                packed |= int.from_bytes(count.to_bytes(width // 8, "big"),
                                         "little") << at
        return packed.to_bytes(-(-len(self.counts) * width // 8), "little")

    def image(self):
        cluster = self.cluster
        assert len(self.counts) << self.order <= cluster * 8
        assert len(self.l1) * 8 <= cluster
        head = header2(cluster_bits=self.bits, order=self.order,
                       l1=(len(self.l1), 3 * cluster), refcount=(cluster, 1),
                       **self.fields)
        return place((0, head + self.extensions), (cluster, be64(2 * cluster)),
                     (2 * cluster, self.refcounts()),
                     (3 * cluster, be64(*self.l1)), *self.parts)


def sound(stream=None, **fields):
    """Data, streams that share a cluster, and what version 3 adds."""
    image = Sound(**fields)
    version, cluster = fields.get("version", 3), image.cluster
    if stream is None:
        stream = deflate(text(cluster))
    shared = image.take(stream + stream, 2)
    words = [image.data(noise(cluster)), 0,
             compressed_entry(shared, len(stream), image.bits),
             compressed_entry(shared + len(stream), len(stream), image.bits),
             image.data(text(cluster))]
    assert len(stream) * 2 <= cluster
    if version == 3:
        words += [1, image.data(text(cluster)) | 1]
    image.table(0, words)
    return image.image()


def sound_plain(**fields):
    """Data alone, of which no cluster has two references."""
    image = Sound(**fields)
    image.table(0, [image.data(text(image.cluster)), 0,
                    image.data(noise(image.cluster))])
    return image.image()


def sound_extended(compression=0):
    image = Sound(cluster_bits=14, size=40 << 14, compression=compression,
                  incompatible=16 | (8 if compression else 0))
    cluster = 1 << 14
    stream = zstd_rle(b"z", cluster) if compression else deflate(text(cluster))
    packed = image.take(stream)
    image.table(0, [image.data(text(cluster)), 0x0000ffff,
                    0, 0xffffffff << 32,
                    0, 0, compressed_entry(packed, len(stream), 14), 0,
                    image.data(text(700)), 0xf0f0f0f00f0f0f0f])
    return image.image()


def sound_snapshots(version=3):
    """A snapshot that shares a table, and one whose table is its own."""
    image = Sound(version=version)
    shared, own = image.take(noise(512), 2), image.data(text(512))
    old = image.take(text(300))
    image.table(0, [shared, 0, shared], 2)
    image.counts[shared // 512] = 4
    image.table(1, [own, shared])
    image.counts[shared // 512] += 1
    first = image.take(be64(image.l1[0], 0))
    table = image.take(pad(be64(old), 512))
    second = image.take(be64(0, table))
    extra = be64(0, 65536)
    image.fields["snapshots"] = (2, image.take(
        snapshot(b"1", b"first", (first, 2), extra) +
        snapshot(b"2", b"second", (second, 2), extra)))
    return image.image()


def sound_bitmaps():
    """One that notes, one that does not, and one that a crash left behind."""
    image = Sound(autoclear=1)
    image.table(0, [image.data(text(512)), 0, image.data(noise(512))])
    tables = [image.take(pad(be64(entry), 512))
              for entry in (image.take(pad(b"\x05\x80", 512)), 1, 0)]
    entries = (bitmap_entry(b"daily", (tables[0], 1), 2, 9) +
               bitmap_entry(b"kept", (tables[1], 1), 0, 12) +
               bitmap_entry(b"lost", (tables[2], 1), 3, 16))
    payload = be32(3, 0) + be64(len(entries), image.take(entries))
    image.extensions = extension(BITMAPS, payload) + END
    return image.image()


def sound_data_file():
    image = Sound(incompatible=4)
    image.extensions = extension(DATA_FILE, b"data.raw") + END
    image.table(0, [COPIED, 0, 0x400 | COPIED, 1, 0x800 | COPIED | 1])
    return image.image()


def sound_backing(version):
    image = Sound(version=version, backing=(0x100, 8), size=32768)
    image.extensions = extension(BACKING_FORMAT, b"raw") + END
    image.table(0, [image.data(noise(512)), 0, 0, image.data(text(512))])
    return place((0, image.image()), (0x100, b"base.raw"))


def sound1(crypt=0, backing=False):
    stream = deflate(text(512))
    l2 = be64(0x400, 0, COPIED | len(stream) << 54 | 0x800, 0x600)
    image = place((0, header1(crypt=crypt,
                              backing=(0xa00, 8) if backing else (0, 0))),
                  (48, be64(0x200, 0)), (0x200, pad(l2, 512)),
                  (0x400, noise(512)), (0x600, text(512)), (0x800, stream))
    return place((0, image), (0xa00, b"base.raw")) if backing else image


# ---- Scripts ----

(WRITE, ZERO, DISCARD, FLUSH, RESIZE, READ, WRITE_COMPRESSED, REOPEN) = range(8)
MAY_UNMAP, FUA, CLUSTERS, FROM_END, FAR = 8, 16, 32, 64, 128
WITH_BACKING, WITH_DATA, KEEP_SPACE, NOT_SPARSE = 4, 8, 16, 32


def op(kind, offset=0, length=0, pattern=2, choice=0):
    return (bytes([kind]) + be32(offset)[1:] + be16(length) +
            bytes([pattern, choice]))


SCRIPTS = {
    "write": [op(WRITE, 100, 3000), op(FLUSH), op(WRITE, 2048, 512, 3),
              op(READ, 0, 8192), op(WRITE | FUA, 40000, 9000, 4)],
    "zero": [op(ZERO, 300, 2000), op(DISCARD | CLUSTERS, 0, 4096),
             op(FLUSH), op(FLUSH), op(ZERO | MAY_UNMAP | CLUSTERS, 0, 60000),
             op(WRITE, 600, 5000)],
    "compress": [op(WRITE_COMPRESSED | CLUSTERS, 512, 4096, 5),
                 op(DISCARD | CLUSTERS, 0, 2048), op(FLUSH),
                 op(WRITE_COMPRESSED | CLUSTERS, 0, 6000, 7),
                 op(WRITE, 700, 100)],
    "resize": [op(WRITE, 28000, 6000), op(WRITE | FROM_END, 99, 100),
               op(RESIZE, 60),
               op(RESIZE, 400, 0, 0, 1), op(WRITE | FROM_END, 5000, 5000),
               op(REOPEN), op(RESIZE, 90), op(RESIZE, 128, 0, 0, 2)],
    "often": [op(kind, 700 * i, 600, i) for i in range(4)
              for kind in (WRITE, DISCARD | CLUSTERS, FLUSH, WRITE, REOPEN)],
}


def script(how, ops, failing=0):
    return bytes([how, len(ops)]) + be16(failing) + b"".join(ops)


def writable_images():
    stream = zstd_rle(b"z", 512)
    return {
        "v1": (QCOW, sound1()),
        "v1-aes": (QCOW, sound1(crypt=1)),
        "v1-backing": (QCOW | WITH_BACKING, sound1(backing=True)),
        "v2": (QCOW2, sound(version=2)),
        "v2-aes": (QCOW2, sound(version=2, crypt=1)),
        "v2-backing": (QCOW2 | WITH_BACKING, sound_backing(2)),
        "v2-snapshots": (QCOW2, sound_snapshots(2)),
        "v3": (PROBED, sound()),
        "v3-4k": (QCOW2 | KEEP_SPACE, sound(cluster_bits=12, size=1 << 20)),
        "v3-zstd": (QCOW2, sound(stream, incompatible=8, compression=1)),
        "v3-autoclear": (QCOW2, sound(autoclear=4)),
        "v3-backing": (QCOW2 | WITH_BACKING, sound_backing(3)),
        "v3-bitmaps": (QCOW2, sound_bitmaps()),
        "v3-data-file": (QCOW2 | WITH_DATA, sound_data_file()),
        "v3-dirty": (QCOW2, sound(incompatible=1, compatible=1)),
        "v3-extended": (QCOW2, sound_extended()),
        "v3-extended-zstd": (QCOW2, sound_extended(1)),
        "v3-one-bit": (QCOW2 | NOT_SPARSE, sound_plain(order=0)),
        "v3-two-bits": (QCOW2, sound(order=1)),
        "v3-wide": (QCOW2, sound_plain(order=6)),
        "v3-snapshots": (QCOW2, sound_snapshots(3)),
        "raw": (RAW, text(3000)),
    }


def writes():
    result = {}
    for number, (image_name, (how, image)) in enumerate(
            writable_images().items()):
        for name, ops in SCRIPTS.items():
            result["%s-%s" % (image_name, name)] = script(how, ops) + image
        result["%s-failing" % image_name] = (
            script(how, SCRIPTS["often"], number + 3) + image)
    return result
