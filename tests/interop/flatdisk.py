# SPDX-License-Identifier: MIT
"""
An image that several programs write, and beside it the bytes that its disk has
to have: the flat disk.  Commands are drawn by a seed in the grammar that
`byre io` and `qemu-io` share, and change the flat disk as they are drawn.
"""

import os

import images
from answers import byte_difference
from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO, read_file, run,
                    write_file)

SECTOR = 512
LONGEST_PIECE = 40000
# A run of whole clusters is bounded by both.
LONGEST_RUN = 24
LONGEST_RUN_BYTES = 3 << 20


class Differs(Exception):
    """What a tool did is not what it had to do; the lines say what."""

    def __init__(self, lines):
        super().__init__("; ".join(lines))
        self.lines = lines


def prepare(rng, folder):
    """The files that commands and options name."""
    write_file(os.path.join(folder, images.SECRET_FILE), b"open sesame")
    write_file(os.path.join(folder, images.RANDOM_FILE), rng.randbytes(65536))
    words = [rng.randbytes(rng.randint(3, 9)) for _ in range(300)]
    text = b"".join(rng.choice(words) for _ in range(12000))[:65536]
    write_file(os.path.join(folder, images.TEXT_FILE), text)


class FlatDisk:
    """
    `content` is what the disk holds now; what lies past its end in a backing
    file never shows.  `below` tells whether there is one.
    """

    def __init__(self, folder, file, content, rng, **kind):
        self.folder = folder
        self.file = file
        self.flat = bytearray(content)
        self.rng = rng
        self.driver = kind.get("driver", "qcow2")
        self.version = kind.get("version", 3)
        self.cluster = kind["cluster"]
        self.encrypted = kind.get("encrypted", False)
        self.packs = kind.get("packs", False)
        self.below = kind.get("below", False)
        self.resizes = kind.get("resizes", True)
        self.snapshots = {}
        self.touched = set()

    @property
    def size(self):
        return len(self.flat)

    def path(self, name):
        return os.path.join(self.folder, name)

    def named(self, file=None):
        """Arguments that name the image, with its secret if it has one."""
        file = file or self.file
        if not self.encrypted:
            return [file]
        return images.SECRET_OBJECT + [
            "--image-opts", "driver=%s,file.filename=%s,encrypt.key-secret=%s"
            % (self.driver, file, images.SECRET_ID)]

    def with_format(self):
        return self.named() if self.encrypted else ["-f", self.driver,
                                                    self.file]

    def _probing(self):
        """Version 1 does not record what its backing file is."""
        return ["--probe-backing"] * (self.driver == "qcow" and self.below)

    # ---- Sessions ----

    def note(self, result):
        """Keeps every command, to repeat them by hand."""
        with open(self.path("commands"), "a", encoding="utf-8") as log:
            log.write(" ".join("'%s'" % a if " " in a else a
                               for a in result.argv) + "\n")
        return result

    def must(self, argv):
        result = self.note(run(argv, self.folder))
        bad = (result.code != 0 or b"failed" in result.out + result.err or
               (result.err and argv[0] == BYRE))
        if bad:
            raise Differs(result.text())
        return result

    def session(self, tool, commands):
        """
        One program opens the image, runs the commands and closes it.  Without
        -t each write is flushed: then tables are written out all the time.
        """
        argv = [QEMU_IO, "-d", "unmap", "-t", "writeback"]
        if tool == "byre":
            argv = [BYRE, "io"] + self._probing()
            argv += ["-t", "writeback"] * (self.rng.random() < 0.8)
        for command in commands:
            argv += ["-c", command]
        return self.must(argv + self.with_format())

    def resize(self, tool, size):
        shrink = ["--shrink"] if size < self.size else []
        tool = BYRE if tool == "byre" else QEMU_IMG
        self.must([tool, "resize", "-q"] + shrink + self.with_format() +
                  [str(size)])
        self._set_size(size)

    def snapshot(self, name):
        argv = [QEMU_IMG, "snapshot", "-c", name] + self.named()
        result = self.note(run(argv, self.folder))
        if result.code != 0:
            raise BuildError("; ".join(result.text()))
        self.snapshots[name] = bytes(self.flat)

    # ---- Drawing commands ----

    def _touch(self, offset, length):
        last = (offset + length - 1) // self.cluster
        self.touched.update(range(offset // self.cluster, last + 1))

    def _set_size(self, size):
        self._touch(min(size, self.size), abs(size - self.size) or 1)
        if size < self.size:
            del self.flat[size:]
        else:
            self.flat += bytes(size - self.size)

    def _piece(self):
        align = self.rng.choice([1, 1, SECTOR, 4096])
        offset = self.rng.randrange(-(-self.size // align)) * align
        most = min(LONGEST_PIECE, self.size - offset)
        length = self.rng.randint(1, most)
        if length > align:
            length = length // align * align
        return offset, length

    def _run(self):
        count = -(-self.size // self.cluster)
        most = max(1, min(LONGEST_RUN, LONGEST_RUN_BYTES // self.cluster))
        first = self.rng.randrange(count)
        end = (first + self.rng.randint(1, most)) * self.cluster
        return first * self.cluster, min(self.size, end) - first * self.cluster

    def _place(self):
        return self._run() if self.rng.random() < 0.4 else self._piece()

    def _data(self, length):
        """(an option of write, the bytes it stands for)"""
        if self.rng.random() < 0.4:
            name = self.rng.choice([images.RANDOM_FILE, images.TEXT_FILE])
            data = read_file(self.path(name))
            return "-s " + name, (data * (length // len(data) + 1))[:length]
        pattern = self.rng.randrange(256)
        return "-P %d" % pattern, bytes([pattern]) * length

    def _write(self, place, flags=""):
        offset, length = place
        option, data = self._data(length)
        self._touch(offset, length)
        self.flat[offset:offset + length] = data
        return ["write %s%s %d %d" % (flags, option, offset, length)]

    def _vector(self):
        offset, length = self._piece()
        pattern, first = self.rng.randrange(256), self.rng.randint(1, length)
        parts = [n for n in (first, length - first) if n]
        self._touch(offset, length)
        self.flat[offset:offset + length] = bytes([pattern]) * length
        return ["writev -P %d %d %s" % (pattern, offset,
                                        " ".join(map(str, parts)))]

    def _zero(self):
        offset, length = self._place()
        self._touch(offset, length)
        self.flat[offset:offset + length] = bytes(length)
        flags = self.rng.choice(["-z", "-z -u"])
        return ["write %s %d %d" % (flags, offset, length)]

    def _discard(self):
        """Whole clusters go, where an entry can say that they did."""
        offset, length = self._place()
        self._touch(offset, length)
        if self.driver == "qcow2" and (self.version > 2 or not self.below):
            first = -(-offset // self.cluster) * self.cluster
            end = offset + length
            if end < self.size:
                end = end // self.cluster * self.cluster
            if first < end:
                self.flat[first:end] = bytes(end - first)
        return ["discard %d %d" % (offset, length)]

    def _packed(self):
        """Only what holds nothing yet takes a compressed cluster."""
        count = -(-self.size // self.cluster)
        clean = [c for c in range(count) if c not in self.touched]
        if not clean:
            return []
        offset = self.rng.choice(clean) * self.cluster
        return self._write((offset, min(self.cluster, self.size - offset)),
                           "-c ")

    def _read_back(self):
        """A place that is uniform is read by pattern, in the same session."""
        offset, length = self._place()
        pattern = self.flat[offset]
        while length > 1 and self.flat.count(pattern, offset,
                                             offset + length) != length:
            length = (length + 1) // 2
        return ["read -P %d %d %d" % (pattern, offset, length)]

    def new_size(self, tool):
        """QEMU leaves the bytes behind a shrunk disk in its last cluster."""
        grain = self.cluster if tool == "qemu" else SECTOR
        wanted = self.size * self.rng.randint(60, 130) // 100
        return max(wanted // grain, 1) * grain

    def _truncate(self, tool):
        """
        Version 2 keeps its size with snapshots; QEMU does not grow its
        overlays either, which would take zeroes that it has to write.
        """
        if not self.resizes or (self.version == 2 and self.snapshots):
            return []
        size = self.new_size(tool)
        if self.version == 2 and self.below and tool == "qemu":
            size = min(size, self.size // self.cluster * self.cluster)
        self._set_size(size)
        return ["truncate %d" % size]

    def draw(self, count, tool):
        """About `count` commands for one session of `tool`."""
        commands = []
        if self.packs:
            for _ in range(3):
                commands += self._packed()
        kinds = ([lambda: self._write(self._piece())] * 4 +
                 [lambda: self._write(self._run())] * 3 +
                 [self._zero] * 3 + [self._discard] * 3 +
                 [self._read_back] * 3 + [self._vector] +
                 [lambda: ["flush"]])
        for _ in range(count):
            commands += self.rng.choice(kinds)()
        if self.rng.random() < 0.3:
            commands += self._truncate(tool)
            commands += self._write(self._piece()) + self._read_back()
        return commands

    # ---- Judging ----

    def check(self):
        """No error, no leak."""
        if self.driver == "qcow2":
            self.must([QEMU_IMG, "check"] + self.with_format())

    def _bytes_by(self, tool, extra=()):
        argv = [tool, "convert", "-O", "raw"] + list(extra) + self.named()
        if not self.encrypted:
            argv[2:2] = ["-f", self.driver]
        if tool == BYRE:
            argv[2:2] = self._probing()
        self.must(argv + ["out.raw"])
        data = read_file(self.path("out.raw"))
        os.unlink(self.path("out.raw"))
        return data

    def holds(self, tool, wanted=None, extra=()):
        wanted = bytes(self.flat) if wanted is None else wanted
        got = self._bytes_by(tool, extra)
        if extra:  # QEMU gives a snapshot the size of the disk of today
            shorter = min(len(got), len(wanted))
            got, wanted = got[:shorter], wanted[:shorter]
        if got != wanted:
            name = "byre" if tool == BYRE else "qemu"
            raise Differs(["what %s reads is not what was written %s" %
                           (name, " ".join(extra))] +
                          [line.replace("byre", "read", 1)
                           .replace("qemu", "want", 1)
                           for line in byte_difference(got, wanted)])

    def judge(self):
        """What QEMU says of the image, and what either tool reads of it."""
        self.check()
        for tool in (QEMU_IMG, BYRE):
            self.holds(tool)
        for name, content in self.snapshots.items():
            self.holds(QEMU_IMG, content, ["-l", name])
