#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Persistent bitmaps beside QEMU: both tools write, zero, discard, resize and
change bitmaps in turn, byre compacts, and the bits in the file are compared with a model.

Without this a bitmap could miss a write that QEMU would have noted, or be
stored in a form that QEMU refuses, and an incremental backup would be wrong.
"""

import argparse
import json
import random
import re
import resource
import struct
import sys

from common import (BYRE, QEMU_IMG, QEMU_IO, BuildError, Scratch, Tap, must,
                    need_tools, run)
from qcow2file import AUTOCLEAR, EXT_BITMAPS, Qcow2File

FILE = "t.qcow2"
IN_USE, AUTO = 1, 2


class Differs(Exception):
    """What byre did is not what the model or QEMU says."""


# ---- The file, by a reader of its own ----

def stored_bits(image, table, entries, granularity):
    """The indices of the bits that are set; bits past the disk are an error."""
    bits = -(-image.get("Q", 24) // granularity)
    found = set()
    for i in range(entries):
        entry = image.get("Q", table + 8 * i)
        if entry in (0, 1):
            raw = (b"\xff" if entry else b"\0") * image.cluster
        else:
            raw = image.data[entry:entry + image.cluster]
        first = i * image.cluster * 8
        for match in re.finditer(b"[^\0]", raw):
            value = match.group()[0]
            found.update(first + match.start() * 8 + bit for bit in range(8)
                         if value >> bit & 1)
    if found and max(found) >= bits:
        raise Differs("bit %d of %d is set" % (max(found), bits))
    return found


def stored_bitmaps(path):
    """{name: (flags, granularity, bits)} in the order of the directory."""
    image = Qcow2File(path)
    extension = image.extension(EXT_BITMAPS)
    if image.get("Q", AUTOCLEAR) & 1 == 0:
        if extension is not None:
            raise Differs("bitmaps without the autoclear bit")
        return {}
    count, _, length, at = struct.unpack(">IIQQ", extension[1])
    end = at + length
    result = {}
    for _ in range(count):
        table, entries, flags, kind, shift, name_length, extra = \
            struct.unpack_from(">QIIBBHI", image.data, at)
        if kind != 1 or extra != 0:
            raise Differs("type %d, extra data %d" % (kind, extra))
        name = bytes(image.data[at + 24:at + 24 + name_length]).decode()
        result[name] = (flags, 1 << shift,
                        stored_bits(image, table, entries, 1 << shift))
        at += (24 + name_length + 7) // 8 * 8
    if at != end:
        raise Differs("the directory has another length")
    return result


# ---- The model ----

class Bitmap:
    def __init__(self, granularity, enabled):
        self.granularity = granularity
        self.enabled = enabled
        self.bits = set()

    def note(self, offset, length):
        first = offset // self.granularity
        last = (offset + length - 1) // self.granularity
        self.bits.update(range(first, last + 1))


class Disk:
    def __init__(self, folder, rng, cluster, extended):
        self.folder = folder
        self.rng = rng
        self.cluster = cluster
        self.size = rng.randrange(40, 400) * 4096 + 512 * rng.randrange(2)
        self.bitmaps = {}
        options = "cluster_size=%d" % cluster
        if extended:
            options += ",extended_l2=on"
        must([QEMU_IMG, "create", "-q", "-f", "qcow2", "-o", options, FILE,
              str(self.size)], folder)

    def call(self, argv):
        result = run(argv, self.folder)
        if result.code != 0 or result.err:
            raise Differs("\n".join(result.text()))
        return result

    def io(self, tool, commands):
        argv = [QEMU_IO] if tool == QEMU_IMG else [BYRE, "io"]
        argv += ["-d", "unmap", "-f", "qcow2"]
        for command in commands:
            argv += ["-c", command]
        self.call(argv + [FILE])

    # Each step draws what to do, has a tool do it, and tells the model.

    def range_of(self, unit):
        most = self.size // unit
        offset = self.rng.randrange(most)
        length = self.rng.randrange(1, min(most - offset, 24) + 1)
        return offset * unit, length * unit

    def step_io(self, tool):
        commands = []
        for _ in range(self.rng.randrange(1, 5)):
            what = self.rng.choice(["write -q -P 7", "write -q -z",
                                    "write -q -z -u", "discard -q"])
            if not what.startswith("discard"):
                offset, length = self.range_of(512)
            elif self.size >= self.cluster:
                offset, length = self.range_of(self.cluster)
            else:
                offset, length = 0, self.size
            commands.append("%s %d %d" % (what, offset, length))
            for bitmap in self.bitmaps.values():
                if bitmap.enabled:
                    bitmap.note(offset, length)
        self.io(tool, commands)

    def step_add(self, tool):
        name = "".join(self.rng.choice("abcxyz ü-9")
                       for _ in range(self.rng.choice([1, 2, 7, 8, 300])))
        if name in self.bitmaps or name.startswith("-"):
            return
        shift = self.rng.choice([None, 9, 12, 16, 20, 31])
        argv = [tool, "bitmap", "--add"]
        default = min(max(self.cluster, 4096), 65536)
        if shift is not None:
            argv += ["-g", str(1 << shift)]
        enabled = self.rng.random() < 0.7
        if not enabled:
            argv.append("--disable")
        self.call(argv + ["-f", "qcow2", FILE, name])
        self.bitmaps[name] = Bitmap(default if shift is None else 1 << shift,
                                    enabled)

    def draw_name(self):
        return self.rng.choice(sorted(self.bitmaps))

    def step_change(self, tool):
        if not self.bitmaps:
            return
        name = self.draw_name()
        what = self.rng.choice(["remove", "clear", "enable", "disable"])
        self.call([tool, "bitmap", "--" + what, "-f", "qcow2", FILE, name])
        if what == "remove":
            del self.bitmaps[name]
        elif what == "clear":
            self.bitmaps[name].bits = set()
        else:
            self.bitmaps[name].enabled = what == "enable"

    def step_merge(self, tool):
        if not self.bitmaps:
            return
        name, other = self.draw_name(), self.draw_name()
        argv = [tool, "bitmap", "--merge", other]
        if self.rng.random() < 0.5:
            self.call(["cp", FILE, "other.qcow2"])
            argv += ["-b", "other.qcow2", "-F", "qcow2"]
        self.call(argv + ["-f", "qcow2", FILE, name])
        source = self.bitmaps[other]
        for bit in list(source.bits):
            offset = bit * source.granularity
            self.bitmaps[name].note(
                offset, min(source.granularity, self.size - offset))

    def step_resize(self, tool):
        self.size = max(self.cluster, self.size +
                        512 * self.rng.randrange(-800, 800))
        self.call([tool, "resize", "-q", "--shrink", "-f", "qcow2", FILE,
                   str(self.size)])
        for bitmap in self.bitmaps.values():
            count = -(-self.size // bitmap.granularity)
            bitmap.bits = {bit for bit in bitmap.bits if bit < count}

    def step_convert(self, tool):
        self.call([tool, "convert", "--bitmaps", "-f", "qcow2", "-O", "qcow2",
                   "-o", "cluster_size=%d" % self.cluster, FILE, "new"])
        self.call(["mv", "new", FILE])

    def step_compact(self, _tool):
        """The disk is what it was; check() looks at the bitmaps."""
        self.call(["cp", FILE, "before.qcow2"])
        self.call([BYRE, "compact", "-q", "-f", "qcow2", FILE])
        self.call([QEMU_IMG, "compare", "-q", "before.qcow2", FILE])
        self.call([BYRE, "check", "-q", "-f", "qcow2", FILE])

    # What is there afterwards.

    def check(self):
        stored = stored_bitmaps(self.folder + "/" + FILE)
        if list(stored) != list(self.bitmaps):
            raise Differs("there are %s, and not %s" %
                          (list(stored), list(self.bitmaps)))
        for name, (flags, granularity, bits) in stored.items():
            model = self.bitmaps[name]
            if flags != (AUTO if model.enabled else 0):
                raise Differs("%r has flags %d" % (name, flags))
            if granularity != model.granularity:
                raise Differs("%r has granularity %d" % (name, granularity))
            if bits != model.bits:
                raise Differs("%r differs in bits %s" %
                              (name, sorted(bits ^ model.bits)[:9]))
        self.call([QEMU_IMG, "check", "-q", "-f", "qcow2", FILE])
        self.check_list()

    def check_list(self):
        """What byre says of them, by value."""
        out = self.call([BYRE, "bitmap", "--list", "--output=json", "-f",
                         "qcow2", FILE]).out
        for shown in json.loads(out):
            model = self.bitmaps[shown["name"]]
            dirty = sum(min(model.granularity,
                            self.size - bit * model.granularity)
                        for bit in model.bits)
            if shown["dirty-bytes"] != dirty:
                raise Differs("%s, and not %d" % (shown, dirty))


STEPS = (["io"] * 5 + ["add"] * 3 + ["change"] * 2 +
         ["merge", "resize", "convert", "compact"])


def judge_session(folder, seed, cluster, extended, steps):
    rng = random.Random("%d/%d/%d" % (seed, cluster, extended))
    disk = Disk(folder, rng, cluster, extended)
    log = []
    disk.step_add(BYRE)
    for _ in range(steps):
        tool = rng.choice([BYRE, BYRE, QEMU_IMG])
        step = rng.choice(STEPS)
        log.append("%s by %s" % (step, tool))
        try:
            getattr(disk, "step_" + step)(tool)
            disk.check()
        except Differs as error:
            raise Differs("%s\nafter %s" % (error, ", ".join(log[-4:])))


def judge_compact(folder, seed, cluster):
    """Compacted after each change: bitmaps, and room for more of them."""
    disk = Disk(folder, random.Random("compact/%d/%d" % (seed, cluster)),
                cluster, False)
    for number in range(5):
        disk.step_add(BYRE if number % 2 else QEMU_IMG)
        disk.io(BYRE, ["discard -q 0 %d" % (disk.size // cluster * cluster)])
        for bitmap in disk.bitmaps.values():
            if bitmap.enabled:
                bitmap.note(0, disk.size // cluster * cluster)
        disk.step_io(BYRE)
        disk.step_compact(BYRE)
        disk.check()
        disk.step_io(QEMU_IMG)
        disk.step_change(BYRE)
        disk.check()
        disk.step_compact(BYRE)
        disk.check()


# ---- Crashes ----

def judge_crash(folder, seed):
    """Killed, the bitmap is in use, for QEMU too; only removing it works."""
    disk = Disk(folder, random.Random(seed), 65536, False)
    disk.call([BYRE, "bitmap", "--add", FILE, "b"])
    disk.io(BYRE, ["write -q 0 1k"])
    result = run([BYRE, "io", "-c", "write -q 4k 1k", "-c", "abort", FILE],
                 folder)
    if not result.died:
        raise Differs("abort did not end it")
    path = folder + "/" + FILE
    if stored_bitmaps(path)["b"][0] != IN_USE | AUTO:
        raise Differs("it is not in use after a crash")
    out = disk.call([QEMU_IMG, "info", "--output=json", FILE]).out
    data = json.loads(out)["format-specific"]["data"]
    if "in-use" not in data["bitmaps"][0]["flags"]:
        raise Differs("QEMU does not see it in use")
    for what in ("--clear", "--enable", "--disable"):
        for tool in (BYRE, QEMU_IMG):
            if run([tool, "bitmap", what, FILE, "b"], folder).code != 1:
                raise Differs("%s of %s works" % (what, tool))
    for tool in (BYRE, QEMU_IMG):
        if run([tool, "resize", FILE, "+1M"], folder).code != 1:
            raise Differs("%s resizes it" % tool)
    # It is kept as it is, while others come, note and go.
    disk.call([BYRE, "bitmap", "--add", FILE, "c"])
    disk.io(BYRE, ["write -q 8k 1k"])
    disk.io(QEMU_IMG, ["write -q 70k 1k"])
    stored = stored_bitmaps(path)
    if stored["b"][0] != IN_USE | AUTO or stored["c"] != (AUTO, 65536, {0, 1}):
        raise Differs("it is not kept: %s" % stored)
    disk.call([BYRE, "bitmap", "--remove", FILE, "b"])
    if list(stored_bitmaps(path)) != ["c"]:
        raise Differs("it cannot be removed")
    run([QEMU_IMG, "check", "-q", "-r", "leaks", FILE], folder)
    disk.call([QEMU_IMG, "check", "-q", FILE])


def judge_qemu_crash(folder, seed):
    """The same the other way round."""
    disk = Disk(folder, random.Random(seed), 4096, False)
    disk.call([QEMU_IMG, "bitmap", "--add", FILE, "b"])
    run([QEMU_IO, "-c", "write -q 4k 1k", "-c", "flush", "-c", "abort", FILE],
        folder)
    out = disk.call([BYRE, "bitmap", "--list", "--output=json", FILE]).out
    if json.loads(out)[0]["flags"] != ["in-use", "auto"]:
        raise Differs("byre does not see it in use: %s" % out)
    disk.io(BYRE, ["write -q 0 1k"])
    disk.call([BYRE, "bitmap", "--remove", FILE, "b"])
    if stored_bitmaps(folder + "/" + FILE):
        raise Differs("it is still there")
    run([QEMU_IMG, "check", "-q", "-r", "leaks", FILE], folder)
    disk.call([QEMU_IMG, "check", "-q", FILE])


def judge_stale(folder, seed):
    """Without the autoclear bit bitmaps are not believed, and dropped."""
    disk = Disk(folder, random.Random(seed), 65536, False)
    disk.call([QEMU_IMG, "bitmap", "--add", FILE, "b"])
    image = Qcow2File(folder + "/" + FILE)
    image.put("Q", AUTOCLEAR, 0)
    image.save()
    if json.loads(disk.call([BYRE, "bitmap", "--list", "--output=json",
                             FILE]).out):
        raise Differs("a stale bitmap is believed")
    disk.io(BYRE, ["write -q 0 1k"])
    if Qcow2File(folder + "/" + FILE).extension(EXT_BITMAPS) is not None:
        raise Differs("a stale bitmap is kept")
    disk.call([QEMU_IMG, "check", "-q", FILE])


def judge_stale_reused(folder, seed):
    """What QEMU's check has freed of stale bitmaps is others' now."""
    disk = Disk(folder, random.Random(seed), 65536, False)
    disk.call([QEMU_IMG, "bitmap", "--add", FILE, "b"])
    disk.io(QEMU_IMG, ["write -q 0 1k"])
    image = Qcow2File(folder + "/" + FILE)
    extension = image.extension(EXT_BITMAPS)[0]
    image.put("I", extension, 0x12345678)
    image.put("Q", AUTOCLEAR, 0)
    image.save()
    run([QEMU_IMG, "check", "-q", "-r", "leaks", FILE], folder)
    disk.io(QEMU_IMG, ["write -q -P 7 0 %d" % disk.size])
    image = Qcow2File(folder + "/" + FILE)
    for kind, at, _ in image.extensions():
        if kind == 0x12345678:
            image.put("I", at, EXT_BITMAPS)
    image.save()
    disk.io(BYRE, ["write -q -P 8 0 64k"])
    disk.io(BYRE, ["write -q -P 9 64k 64k"])
    disk.call([QEMU_IMG, "check", "-q", FILE])
    disk.io(QEMU_IMG, ["read -q -P 8 0 64k", "read -q -P 9 64k 64k",
                       "read -q -P 7 128k %d" % (disk.size - 131072)])


def judge_increment(folder, seed, extended):
    """A chain of increments is the disk, whoever reads it."""
    rng = random.Random("%d/%d" % (seed, extended))
    disk = Disk(folder, rng, 65536, extended)
    disk.io(QEMU_IMG, ["write -q -P 3 0 %d" % disk.size])
    disk.call([BYRE, "convert", "-f", "qcow2", "-O", "qcow2", FILE, "b0"])
    disk.call([BYRE, "bitmap", "--add", "-g", "4k", FILE, "b"])
    disk.bitmaps["b"] = Bitmap(4096, True)
    for i in range(4):
        disk.step_io(rng.choice([BYRE, QEMU_IMG]))
        argv = [BYRE, "convert", "-f", "qcow2", "-O", "qcow2", "--bitmap", "b",
                "-b", "b%d" % i, "-F", "qcow2"]
        if i % 2:
            argv.append("-c")
        disk.call(argv + [FILE, "b%d" % (i + 1)])
        disk.call([BYRE, "bitmap", "--clear", FILE, "b"])
        disk.bitmaps["b"].bits = set()
        disk.call([QEMU_IMG, "compare", "-q", FILE, "b%d" % (i + 1)])
        disk.call([QEMU_IMG, "check", "-q", "b%d" % (i + 1)])
    disk.check()


def cases(seed, rounds, steps):
    result = []
    for number in range(rounds):
        for cluster in (512, 4096, 65536, 1 << 21):
            result.append(("session, clusters of %d, seed %d" %
                           (cluster, seed + number), judge_session,
                           (seed + number, cluster, False, steps)))
        result.append(("session, subclusters, seed %d" % (seed + number),
                       judge_session, (seed + number, 16384, True, steps)))
        for cluster in (512, 65536):
            result.append(("compacted, clusters of %d, seed %d" %
                           (cluster, seed + number), judge_compact,
                           (seed + number, cluster)))
        result.append(("increments, seed %d" % (seed + number),
                       judge_increment, (seed + number, False)))
        result.append(("increments, subclusters, seed %d" % (seed + number),
                       judge_increment, (seed + number, True)))
    return result + [("byre crashes", judge_crash, (seed,)),
                     ("QEMU crashes", judge_qemu_crash, (seed,)),
                     ("stale bitmaps", judge_stale, (seed,)),
                     ("stale bitmaps without clusters", judge_stale_reused,
                      (seed,))]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    need_tools(QEMU_IMG, QEMU_IO)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tap = Tap()
    with Scratch() as scratch:
        todo = cases(options.seed, 30 if options.full else 1,
                     60 if options.full else 16)
        for number, (name, judge, args) in enumerate(todo):
            try:
                judge(scratch.make("case%d" % number), *args)
            except BuildError as error:
                tap.skip(name, "qemu cannot make it: %s" % error)
            except Differs as error:
                tap.check(False, name, str(error).splitlines())
            else:
                tap.check(True, name)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
