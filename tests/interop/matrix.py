# SPDX-License-Identifier: MIT
"""
The cases of the interop tests: the axes, and what may be combined.

A case is a dict that maps every axis to one of its values.  `pairwise()` makes
a small list in which every legal pair of values of two axes occurs;
`product()` makes a large one.  Both depend on the seed alone.
"""

import itertools
import random

KIB = 1024
MIB = 1024 * KIB
CLUSTERS = [512 << i for i in range(13)]

# Axes whose value has nothing to say in a case hold "-".
AXES = {
    "format": ["v3", "v2", "v1"],
    "cluster": CLUSTERS,
    "refcount": [16, 1, 2, 4, 8, 32, 64],
    "extl2": ["off", "on"],
    "pack": ["none", "zlib-write", "zlib-convert", "zstd-write",
             "zstd-convert"],
    "datafile": ["none", "plain", "raw"],
    "depth": [0, 1, 2, 3],
    "bottom": ["-", "raw", "qcow", "qcow2"],
    "length": ["-", "same", "shorter", "longer", "odd"],
    "naming": ["-", "relative", "absolute", "file", "json"],
    "snapshots": [0, 1, 2],
    "bitmaps": [0, 1, 2],
    "crypt": ["none", "aes", "luks"],
    "prealloc": ["off", "metadata", "falloc", "full"],
    "lazy": ["off", "clean", "killed"],
    "size": ["cluster", "sector", "odd"],
}

# What a LUKS case uses, in turn.  QEMU 7.2 dies on aes-192 outside of xts, and
# has no essiv for cast5; the last field is the hash of the key derivation.
LUKS_KINDS = [
    ("aes-256", "xts", "plain64", None, "sha256"),
    ("aes-128", "xts", "plain", None, "sha1"),
    ("aes-256", "cbc", "essiv", "sha256", "sha256"),
    ("aes-128", "cbc", "essiv", "sha256", "sha384"),
    ("aes-128", "cbc", "essiv", "md5", "md5"),
    ("aes-256", "cbc", "plain64", None, "ripemd160"),
    ("aes-128", "cbc", "plain", None, "sha224"),
    ("aes-256", "ecb", "plain64", None, "sha256"),
    ("aes-128", "ctr", "plain64", None, "sha256"),
    ("aes-256", "ctr", "essiv", "sha256", "sha1"),
    ("aes-256", "xts", "essiv", "sha256", "sha256"),
    ("aes-256", "xts", "plain", None, "sha512"),
    ("cast5-128", "cbc", "plain64", None, "sha256"),
    ("cast5-128", "cbc", "plain", None, "sha1"),
]

# Ciphers that libcrypto does not have: byre must say so, and write nothing.
LUKS_REFUSED = [
    ("aes-192", "xts", "plain64", None, "sha512"),
    ("serpent-256", "xts", "plain64", None, "sha256"),
    ("serpent-128", "cbc", "plain64", None, "sha1"),
    ("twofish-256", "xts", "plain64", None, "sha256"),
    ("twofish-128", "cbc", "essiv", "sha256", "sha512"),
]


def _rule(*axes):
    def mark(test):
        test.axes = axes
        return test

    return mark


@_rule("format", "cluster", "depth")
def _v1_cluster(fmt, cluster, depth):
    return fmt != "v1" or cluster == (512 if depth else 4096)


@_rule("format", "refcount")
def _v3_refcounts(fmt, refcount):
    return fmt == "v3" or refcount == 16


@_rule("format", "extl2")
def _extl2_is_v3(fmt, extl2):
    return extl2 == "off" or fmt == "v3"


@_rule("extl2", "cluster")
def _extl2_clusters(extl2, cluster):
    return extl2 == "off" or cluster >= 16 * KIB


@_rule("format", "pack")
def _zstd_is_v3(fmt, pack):
    return fmt == "v3" or not pack.startswith("zstd")


@_rule("format", "datafile")
def _data_file_is_v3(fmt, datafile):
    return fmt == "v3" or datafile == "none"


@_rule("datafile", "pack")
def _data_file_is_not_packed(datafile, pack):
    return datafile == "none" or pack == "none"


@_rule("datafile", "snapshots")
def _data_file_has_no_snapshots(datafile, snapshots):
    return datafile == "none" or snapshots == 0


@_rule("datafile", "depth")
def _raw_data_file_stands_alone(datafile, depth):
    return datafile != "raw" or depth == 0


@_rule("depth", "bottom")
def _bottom_needs_depth(depth, bottom):
    return (depth == 0) == (bottom == "-")


@_rule("depth", "length")
def _length_needs_depth(depth, length):
    return (depth == 0) == (length == "-")


@_rule("depth", "naming")
def _naming_needs_depth(depth, naming):
    return (depth == 0) == (naming == "-")


@_rule("length", "bottom")
def _only_raw_is_odd(length, bottom):
    return length != "odd" or bottom == "raw"


@_rule("format", "snapshots")
def _v1_has_no_snapshots(fmt, snapshots):
    return fmt != "v1" or snapshots == 0


@_rule("refcount", "snapshots")
def _one_bit_is_not_shared(refcount, snapshots):
    return refcount != 1 or snapshots == 0


@_rule("refcount", "snapshots", "pack")
def _small_counts_do_not_pack(refcount, snapshots, pack):
    # Streams share host clusters, whose counts a snapshot raises further.
    return refcount not in (2, 4) or snapshots == 0 or pack == "none"


@_rule("format", "bitmaps")
def _bitmaps_are_v3(fmt, bitmaps):
    return fmt == "v3" or bitmaps == 0


@_rule("format", "crypt")
def _luks_is_qcow2(fmt, crypt):
    return fmt != "v1" or crypt != "luks"


@_rule("crypt", "pack")
def _no_encrypted_convert(crypt, pack):
    return crypt == "none" or not pack.endswith("convert")


@_rule("format", "prealloc")
def _v1_is_not_preallocated(fmt, prealloc):
    return fmt != "v1" or prealloc == "off"


@_rule("prealloc", "depth", "extl2")
def _overlay_preallocation(prealloc, depth, extl2):
    return prealloc == "off" or depth == 0 or extl2 == "on"


@_rule("prealloc", "pack")
def _packed_is_not_preallocated(prealloc, pack):
    return prealloc == "off" or pack == "none"


@_rule("format", "lazy")
def _lazy_is_v3(fmt, lazy):
    return fmt == "v3" or lazy == "off"


RULES = [
    _v1_cluster, _v3_refcounts, _extl2_is_v3, _extl2_clusters, _zstd_is_v3,
    _data_file_is_v3, _data_file_is_not_packed, _data_file_has_no_snapshots,
    _raw_data_file_stands_alone, _bottom_needs_depth, _length_needs_depth,
    _naming_needs_depth, _only_raw_is_odd, _v1_has_no_snapshots,
    _one_bit_is_not_shared, _small_counts_do_not_pack, _bitmaps_are_v3,
    _luks_is_qcow2, _no_encrypted_convert, _v1_is_not_preallocated, _overlay_preallocation,
    _packed_is_not_preallocated, _lazy_is_v3,
]

_RULES_OF = {axis: [r for r in RULES if axis in r.axes] for axis in AXES}


def legal(case):
    """Whether no rule forbids the (possibly partial) case."""
    return all(r(*(case[a] for a in r.axes)) for r in RULES
               if all(a in case for a in r.axes))


def _fits(case, axis, value):
    case[axis] = value
    good = all(r(*(case[a] for a in r.axes)) for r in _RULES_OF[axis]
               if all(a in case for a in r.axes))
    del case[axis]
    return good


def _complete(case, axes, rank):
    """Fills `axes` in order, best-ranked values first; False if impossible."""
    if not axes:
        return True
    axis = axes[0]
    for value in rank(case, axis):
        if not _fits(case, axis, value):
            continue
        case[axis] = value
        if _complete(case, axes[1:], rank):
            return True
        del case[axis]
    return False


def _pair(axis, value, other, other_value):
    if axis < other:
        return ((axis, value), (other, other_value))
    return ((other, other_value), (axis, value))


def _pairs_of(case):
    return {_pair(a, case[a], b, case[b])
            for a, b in itertools.combinations(sorted(case), 2)}


def _all_pairs():
    pairs = []
    for a, b in itertools.combinations(sorted(AXES), 2):
        for x, y in itertools.product(AXES[a], AXES[b]):
            if legal({a: x, b: y}):
                pairs.append(((a, x), (b, y)))
    return pairs


def _finish(cases):
    """Numbers the cases and deals out what is used in turn."""
    luks = 0
    for number, case in enumerate(cases, 1):
        case["number"] = number
        case["luks"] = None
        if case["crypt"] == "luks":
            case["luks"] = LUKS_KINDS[luks % len(LUKS_KINDS)]
            luks += 1
    return cases


# Most rules hang on these: chosen first, they leave nothing to backtrack from.
_HUBS = ["format", "depth", "cluster", "extl2"]


def _in_order(case, rng):
    rest = [a for a in AXES if a not in case and a not in _HUBS]
    rng.shuffle(rest)
    return [a for a in _HUBS if a not in case] + rest


def _cover(fixed, rng, candidates):
    """A greedy cover of every pair that some case with `fixed` can hold."""
    todo = [p for p in _all_pairs()
            if all(fixed.get(axis, value) == value for axis, value in p)]
    rng.shuffle(todo)
    open_pairs = set(todo)
    cases = []

    def rank(case, axis):
        values = list(AXES[axis])
        rng.shuffle(values)
        gain = {v: sum(_pair(axis, v, a, case[a]) in open_pairs for a in case)
                for v in values}
        return sorted(values, key=lambda v: -gain[v])

    for first in todo:
        if first not in open_pairs:
            continue
        best, best_gain = None, -1
        for _ in range(candidates):
            case = dict(fixed, **dict(first))
            axes = _in_order(case, rng)
            if not legal(case) or not _complete(case, axes, rank):
                break
            gain = len(_pairs_of(case) & open_pairs)
            if gain > best_gain:
                best, best_gain = case, gain
        open_pairs.discard(first)
        if best is not None:
            open_pairs -= _pairs_of(best)
            cases.append({axis: best[axis] for axis in AXES})
    return cases


def pairwise(seed=1, candidates=8):
    """
    Every legal pair of values at least once.  Version 1 is covered for itself
    as well: it takes part in few pairs, so that it would get too few cases.
    """
    rng = random.Random(seed)
    return _finish(_cover({"format": "v1"}, rng, candidates) +
                   _cover({}, rng, candidates))


# The axes whose whole product --full runs; the others are drawn by the seed.
PRODUCT_AXES = ["format", "cluster", "extl2", "pack", "datafile", "depth",
                "snapshots", "crypt"]


def product(seed=1, limit=3000):
    """The legal product of PRODUCT_AXES, thinned evenly to `limit` cases."""
    rng = random.Random(seed)

    def rank(_case, axis):
        values = list(AXES[axis])
        rng.shuffle(values)
        return values

    cores = []
    for values in itertools.product(*(AXES[a] for a in PRODUCT_AXES)):
        core = dict(zip(PRODUCT_AXES, values))
        if legal(core):
            cores.append(core)
    rng.shuffle(cores)
    rest = [a for a in AXES if a not in PRODUCT_AXES]
    cases = []
    for core in cores[:limit]:
        case = dict(core)
        if _complete(case, rest, rank):
            cases.append({axis: case[axis] for axis in AXES})
    return _finish(cases)


def refused():
    """One plain image for each cipher that cannot be read here."""
    plain = {axis: values[0] for axis, values in AXES.items()}
    plain.update(cluster=64 * KIB, crypt="luks")
    return [dict(plain, number=i, luks=kind)
            for i, kind in enumerate(LUKS_REFUSED, 1)]


def features(case):
    """The optional parts of byre that the case needs."""
    needed = []
    if case["pack"].startswith("zstd"):
        needed.append("zstd")
    if case["crypt"] != "none":
        needed.append("crypto")
    return needed


def name(case):
    """A case in a word: what it sets that is not the first of its axis."""
    parts = [case["format"], _size(case["cluster"])]
    for axis in list(AXES)[2:]:
        value = case[axis]
        if value != AXES[axis][0]:
            parts.append("%s=%s" % (axis, value))
    if case["luks"]:
        parts.append("-".join(str(p) for p in case["luks"] if p))
    return ",".join(parts)


def _size(number):
    for unit, letter in ((MIB, "M"), (KIB, "k")):
        if number >= unit:
            return "%d%s" % (number // unit, letter)
    return str(number)


def main():
    for case in pairwise():
        print("%03d %s" % (case["number"], name(case)))


if __name__ == "__main__":
    main()
