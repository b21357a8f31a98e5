# SPDX-License-Identifier: MIT
"""
Compressed streams made by hand, so that they are the same with every release
of every compressor.
"""
import struct

# The first value of each length and distance code, and its extra bits.
LENGTHS = [(3 + i, 0) for i in range(8)] + [
    (11, 1), (13, 1), (15, 1), (17, 1), (19, 2), (23, 2), (27, 2), (31, 2),
    (35, 3), (43, 3), (51, 3), (59, 3), (67, 4), (83, 4), (99, 4), (115, 4),
    (131, 5), (163, 5), (195, 5), (227, 5), (258, 0)]
DISTANCES = [(1, 0), (2, 0)] + [
    (1 + (2 + odd << bits), bits) for bits in range(14) for odd in (0, 1)]
LONGEST_MATCH = 258


class BitWriter:
    """Bits into bytes, the lowest first."""

    def __init__(self):
        self.bytes = bytearray()
        self.held = 0
        self.count = 0

    def put(self, value, count):
        self.held |= value << self.count
        self.count += count
        while self.count >= 8:
            self.bytes.append(self.held & 0xFF)
            self.held >>= 8
            self.count -= 8

    def put_code(self, code, count):
        """A Huffman code, whose highest bit comes first."""
        self.put(int(f"{code:0{count}b}"[::-1], 2), count)

    def finish(self):
        self.put(0, -self.count % 8)
        return bytes(self.bytes)


def put_symbol(bits, symbol):
    """A literal, the end or a length, in the fixed code of RFC 1951."""
    if symbol < 144:
        bits.put_code(0x30 + symbol, 8)
    elif symbol < 256:
        bits.put_code(0x190 + symbol - 144, 9)
    elif symbol < 280:
        bits.put_code(symbol - 256, 7)
    else:
        bits.put_code(0xC0 + symbol - 280, 8)


def put_match(bits, length, distance):
    code = max(i for i, (first, _) in enumerate(LENGTHS) if first <= length)
    first, extra = LENGTHS[code]
    put_symbol(bits, 257 + code)
    bits.put(length - first, extra)
    code = max(i for i, (start, _) in enumerate(DISTANCES)
               if start <= distance)
    first, extra = DISTANCES[code]
    bits.put_code(code, 5)
    bits.put(distance - first, extra)


def match_length(data, at, distance):
    """How long `data` goes on at `at` as it did `distance` before."""
    length = 0
    if distance <= at:
        while (length < LONGEST_MATCH and at + length < len(data)
               and data[at + length] == data[at + length - distance]):
            length += 1
    return length


def deflate(data, distances=(1,)):
    """A raw deflate stream that looks for matches at these distances only."""
    bits = BitWriter()
    bits.put(3, 3)
    at = 0
    while at < len(data):
        length, distance = max((match_length(data, at, distance), distance)
                               for distance in distances)
        if length < 3:
            put_symbol(bits, data[at])
            at += 1
        else:
            put_match(bits, length, distance)
            at += length
    put_symbol(bits, 256)
    return bits.finish()


def deflate_endless(byte, stream_bytes):
    """The start of a deflate stream that repeats a byte for ever."""
    bits = BitWriter()
    bits.put(3, 3)
    put_symbol(bits, byte)
    while len(bits.bytes) < stream_bytes:
        put_match(bits, LONGEST_MATCH, 1)
    return bytes(bits.bytes[:stream_bytes])


def zstd_block(kind, length, payload, last):
    """A block; its kind is 0 for raw bytes and 1 for one repeated byte."""
    return struct.pack("<I", length << 3 | kind << 1 | last)[:3] + payload


def zstd_repeat(byte, length, window_byte=0x30, stated_bytes=None):
    """
    A zstd frame that repeats a byte, made by hand of blocks of at most 64 KiB.

    The window descriptor is `window_byte`: 1 KiB << (byte >> 3), and eighths.
    With `stated_bytes` the frame says, perhaps falsely, how long it becomes.
    """
    flags = 0x00 if stated_bytes is None else 0x80
    frame = b"\x28\xb5\x2f\xfd" + bytes([flags, window_byte])
    if stated_bytes is not None:
        frame += struct.pack("<I", stated_bytes)
    while length > 0:
        part = min(length, 1 << 16)
        length -= part
        frame += zstd_block(1, part, bytes([byte]), 1 if length == 0 else 0)
    return frame


def zstd_skippable(data):
    """A frame that decoders pass over."""
    return struct.pack("<II", 0x184D2A50, len(data)) + data
