# SPDX-License-Identifier: MIT
"""Writes the first cluster of an image anew, with what no tool would put in."""

import struct

from qcow2file import AUTOCLEAR, COMPATIBLE, EXT_END, Qcow2File

HEADER_BYTES = 112


def _record(kind, payload):
    return struct.pack(">II", kind, len(payload)) + payload + bytes(
        -len(payload) % 8)


def rewrite(path, extensions=None, tail=b"", length=None, compatible=0,
            autoclear=0, backing=None):
    """
    A header of `length` bytes or 112 and `tail`, then `extensions`, (type,
    payload) in order, then the backing name.  What is None stays as it is.
    """
    image = Qcow2File(path)
    if extensions is None:
        extensions = [(k, p) for k, _, p in image.extensions()]
    if backing is None:
        at, count = image.get("Q", 8), image.get("I", 16)
        backing = bytes(image.data[at:at + count]) if at else b""
    if length is None:
        length = HEADER_BYTES + len(tail)
    if image.version > 2:
        image.put("I", 100, length)
        image.put("Q", COMPATIBLE, image.get("Q", COMPATIBLE) | compatible)
        image.put("Q", AUTOCLEAR, image.get("Q", AUTOCLEAR) | autoclear)
    else:
        length = 72
    head = bytes(image.data[:min(length, HEADER_BYTES)]) + tail
    head += b"".join(_record(*e) for e in extensions)
    head += _record(EXT_END, b"")
    name_at = len(head) if backing else 0
    head += backing
    image.data[:image.cluster] = head + bytes(image.cluster - len(head))
    image.put("Q", 8, name_at)
    image.put("I", 16, len(backing))
    image.save()


def after_fields(path):
    """Everything in the first cluster that is not a field we know."""
    image = Qcow2File(path)
    start = 72 if image.version == 2 else 104
    return (bytes(image.data[start:image.cluster]), image.get("Q", 8),
            image.get("I", 16), image.header_length)
