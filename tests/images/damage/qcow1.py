# SPDX-License-Identifier: MIT
"""Version 1, which has no counts: QEMU does not check it at all."""
from builder import Qcow1, be64s
from damage.case import Damaged
from streams import deflate

KIB = 1 << 10
CLUSTER = 4 * KIB
SIZE = 64 * KIB
FAR = 1 << 40


def filled():
    """A disk whose first two clusters hold a and b."""
    image = Qcow1(SIZE)
    image.data(0, b"a" * CLUSTER)
    image.data(1, b"b" * CLUSTER)
    return image


def disk(*letters):
    whole = b"".join(letter * CLUSTER for letter in letters)
    return whole.ljust(SIZE, b"\0")


def entry(name, damage, value, content, found=(1, 1)):
    """The entry of b is forced, whose cluster leaks: nothing gives it back."""
    image = filled().map(1, value)
    return Damaged(name, damage, image.build(), found=found, left=found,
                   disk=content)


def l1(name, damage, value, content):
    image = filled()
    image.l1[0] = value
    return Damaged(name, damage, image.build(), found=(1, 3), left=(1, 3),
                   disk=content)


def cases():
    stream = deflate(b"c" * CLUSTER)
    packed = filled().compressed(2, stream)
    first = filled().l2_offset - CLUSTER
    overlap = filled()
    overlap.map(2, overlap.l2_offset)
    return [
        Damaged("v1-well", "A version 1 image with nothing wrong.",
                filled().build(), disk=disk(b"a", b"b")),
        Damaged("v1-compressed", "The same with a compressed cluster.",
                packed.build(), disk=disk(b"a", b"b", b"c")),
        entry("v1-past-end", "A cluster lies past the end.", FAR,
              disk(b"a")),
        entry("v1-unaligned", "A cluster starts inside a sector.",
              first + 100, None),
        entry("v1-twice", "Two guest clusters own one host cluster.", first,
              disk(b"a", b"a")),
        Damaged("v1-on-table", "A cluster is the L2 table.", overlap.build(),
                found=(1, 0), left=(1, 0)),
        l1("v1-l2-past-end", "The L2 table lies past the end.", FAR,
           disk()),
        Damaged("v1-truncated", "The file ends inside the second cluster.",
                filled().build()[:-1000], disk=disk(b"a")[:CLUSTER]
                + (b"b" * (CLUSTER - 1000)).ljust(SIZE - CLUSTER, b"\0")),
    ]


__all__ = ["be64s", "cases"]
