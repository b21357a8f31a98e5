# SPDX-License-Identifier: MIT
"""Makes the image of a case with QEMU's tools, filled by a seeded pattern."""

import json
import os
import random

from common import BuildError, QEMU_IMG, QEMU_IO, must, run, settle, write_file

SECRET_ID = "s0"
SECRET_FILE = "secret"
SECRET_OBJECT = ["--object", "secret,id=%s,file=%s" % (SECRET_ID, SECRET_FILE)]
DRIVERS = {"v1": "qcow", "v2": "qcow2", "v3": "qcow2"}
RANDOM_FILE = "random.bin"
TEXT_FILE = "text.bin"
CREATE_TRIES = 4


class Image:
    """A built image: how to name it from `folder`, and what is in it."""

    def __init__(self, case, folder):
        self.case = case
        self.folder = folder
        self.driver = DRIVERS[case["format"]]
        self.file = "top." + self.driver
        self.size = 0
        self.snapshots = []
        self.encrypted = case["crypt"] != "none"
        self.chain = [self.driver]  # formats, from the top down

    @property
    def probes(self):
        """A v1 overlay records no format; a json: name says it by itself."""
        unrecorded = self.chain[:-1]
        if self.case["naming"] == "json":
            unrecorded = unrecorded[1:]
        return "qcow" in unrecorded

    @property
    def path(self):
        return os.path.join(self.folder, self.file)

    def open_args(self):
        """Arguments that name the image for reading its data."""
        if not self.encrypted:
            return [self.file]
        return SECRET_OBJECT + ["--image-opts", self.image_opts()]

    def image_opts(self):
        opts = "driver=%s,file.filename=%s" % (self.driver, self.file)
        if self.encrypted:
            opts += ",encrypt.key-secret=" + SECRET_ID
        return opts


def luks_env():
    """
    QEMU 7.2 times its key derivation by a clock that is too coarse on some
    machines ("Unable to get accurate CPU usage"); a steady one is preloaded
    where the build provides it, which also saves seconds an image.
    """
    clock = os.environ.get("STEADY_CLOCK")
    return {"LD_PRELOAD": clock} if clock else {}


def luks_options(kind):
    cipher, mode, ivgen, ivgen_hash, kdf_hash = kind
    options = ["encrypt.format=luks", "encrypt.key-secret=" + SECRET_ID,
               "encrypt.iter-time=10", "encrypt.cipher-alg=" + cipher,
               "encrypt.cipher-mode=" + mode, "encrypt.ivgen-alg=" + ivgen,
               "encrypt.hash-alg=" + kdf_hash]
    if ivgen_hash:
        options.append("encrypt.ivgen-hash-alg=" + ivgen_hash)
    return options


def qemu_create(argv, folder):
    """`qemu-img create`, again if it only failed to time itself."""
    for _ in range(CREATE_TRIES):
        result = run([QEMU_IMG, "create", "-q"] + argv, folder, luks_env())
        if b"accurate CPU usage" not in result.err:
            break
    if result.code != 0:
        raise BuildError("; ".join(result.text()))


def qemu_io(image_args, commands, folder):
    """Runs qemu-io commands; every one of them has to work."""
    argv = [QEMU_IO, "-d", "unmap"]
    for command in commands:
        argv += ["-c", command]
    result = run(argv + image_args, folder)
    killed = commands[-1].startswith("sigraise") and result.died
    if b"failed" in result.out + result.err or (result.code and not killed):
        raise BuildError("; ".join(result.text()))
    return result


class Writer:
    """Draws qemu-io commands, and remembers which clusters they touched."""

    def __init__(self, rng, cluster, driver, packs):
        self.rng = rng
        self.cluster = cluster
        self.driver = driver
        self.packs = packs
        self.touched = set()

    def _touch(self, offset, length):
        first = offset // self.cluster
        last = (offset + length - 1) // self.cluster
        self.touched.update(range(first, last + 1))

    def _clusters(self, size, most):
        count = -(-size // self.cluster)
        first = self.rng.randrange(count)
        offset = first * self.cluster
        end = min(size, (first + self.rng.randint(1, most)) * self.cluster)
        return offset, end - offset

    def _piece(self, size, align):
        offset = self.rng.randrange(size // align) * align
        most = min(40000, size - offset) // align
        length = self.rng.randint(1, max(1, most))
        return offset, min(length * align, size - offset)

    def _source(self):
        if self.rng.random() < 0.4:
            return "-s %s" % self.rng.choice([RANDOM_FILE, TEXT_FILE])
        return "-P %d" % self.rng.randrange(256)

    def _write(self, offset, length):
        self._touch(offset, length)
        return "write %s %d %d" % (self._source(), offset, length)

    def _zero(self, offset, length):
        self._touch(offset, length)
        flag = self.rng.choice(["-z", "-z -u"])
        return "write %s %d %d" % (flag, offset, length)

    def _discard(self, offset, length):
        self._touch(offset, length)
        return "discard %d %d" % (offset, length)

    def _packed(self, size):
        clean = [c for c in range(-(-size // self.cluster))
                 if c not in self.touched]
        if not clean:
            return []
        offset = self.rng.choice(clean) * self.cluster
        length = min(self.cluster, size - offset)
        return ["write -c" + self._write(offset, length)[len("write"):]]

    def draw(self, size):
        """A few commands of every kind, over `size` bytes, in any order."""
        rng = self.rng
        run_length = 3 if self.cluster > 65536 else 24
        commands = []
        if self.packs:
            for _ in range(6):
                commands += self._packed(size)
        mixed = [self._write(*self._clusters(size, run_length))
                 for _ in range(3)]
        mixed += [self._write(*self._piece(size, align))
                  for align in (1, 1, 512, 512, 4096)]
        mixed += [self._zero(*self._clusters(size, run_length))
                  for _ in range(3)]
        mixed += [self._zero(*self._piece(size, align)) for align in (1, 512)]
        if self.driver != "qcow":
            mixed += [self._discard(*self._clusters(size, run_length))
                      for _ in range(2)]
        rng.shuffle(mixed)
        tail = rng.randint(1, min(size, 3000))
        return commands + mixed + [self._write(size - tail, tail)]


def _pattern_files(rng, folder):
    """Bytes that do not compress, and bytes that do so by about a half."""
    write_file(os.path.join(folder, RANDOM_FILE), rng.randbytes(65536))
    words = [rng.randbytes(rng.randint(3, 9)) for _ in range(600)]
    text = b"".join(rng.choice(words) for _ in range(12000))[:65536]
    write_file(os.path.join(folder, TEXT_FILE), text)


def raw_file(rng, path, length):
    """A raw disk with holes, text, noise and written zeroes."""
    with open(path, "wb") as f:
        f.truncate(length)
        for _ in range(8):
            offset = rng.randrange(length)
            count = min(rng.randint(1, 60000), length - offset)
            kind = rng.random()
            if kind < 0.3:
                data = rng.randbytes(count)
            elif kind < 0.8:
                data = bytes([rng.randrange(256)]) * count
            else:
                data = bytes(count)
            f.seek(offset)
            f.write(data)
        f.seek(length - 1)
        f.write(b"E")


def disk_size(rng, case):
    """Small, but several clusters of any size."""
    cluster = case["cluster"]
    size = max(1024 * 1024, 4 * cluster)
    if case["size"] == "cluster":
        return size
    size -= rng.randint(1, max(1, min(cluster, 65536) // 512 - 1)) * 512
    if case["size"] == "odd":
        size -= rng.randint(1, 511)
    return size


def _base_length(rng, relation, size, is_raw):
    sectors = size // 512
    if relation == "shorter":
        return (sectors * 5 // 8 - rng.randrange(8)) * 512
    if relation == "longer":
        return (sectors + rng.randint(9, 200)) * 512
    if relation == "odd" and is_raw:
        return sectors // 2 * 512 + rng.randint(1, 511)
    return -(-size // 512) * 512


def backing_name(naming, file, driver, folder):
    if naming == "absolute":
        return os.path.join(folder, file)
    if naming == "file":
        return "file:" + file
    if naming == "json":
        return "json:" + json.dumps(
            {"driver": driver, "file": {"driver": "file", "filename": file}})
    return file


def _build_bases(rng, image, size):
    """The chain below the top, from the bottom up; the name the top stores."""
    case, folder = image.case, image.folder
    below = None
    drivers = []
    for level in range(case["depth"], 0, -1):
        if level == case["depth"]:
            driver = case["bottom"]
        else:
            driver = rng.choice(["qcow", "qcow2"])
        file = "base%d.%s" % (level, driver)
        relation = case["length"]
        if 1 < level < case["depth"]:
            relation = rng.choice(["same", "shorter", "longer"])
        length = _base_length(rng, relation, size, driver == "raw")
        _build_base(rng, folder, file, driver, length, below, case["cluster"])
        drivers.insert(0, driver)
        below = (file, driver)
    image.chain += drivers
    return below


def _build_base(rng, folder, file, driver, length, below, top_cluster):
    if driver == "raw":
        raw_file(rng, os.path.join(folder, file), length)
        return
    argv = ["-f", driver]
    cluster = 4096
    if driver == "qcow2":
        cluster = rng.choice([c for c in (1024, 4096, 16384, 65536)
                              if c != top_cluster])
        argv += ["-o", "cluster_size=%d" % cluster]
    elif below:
        cluster = 512
    if below:
        # A middle image names the next by its full path: one that was opened
        # through a json: name cannot resolve a relative one.
        argv += ["-b", os.path.join(folder, below[0]), "-F", below[1]]
    qemu_create(argv + [file, str(length)], folder)
    writer = Writer(rng, cluster, driver, False)
    qemu_io([file], writer.draw(-(-length // 512) * 512), folder)


def _options(image):
    """The creation options of the top image."""
    case = image.case
    options = []
    if case["crypt"] == "aes":
        options += ["encrypt.format=aes", "encrypt.key-secret=" + SECRET_ID]
    elif case["crypt"] == "luks":
        options += luks_options(case["luks"])
    if case["format"] == "v1":
        return options
    options += ["compat=%s" % {"v2": "0.10", "v3": "1.1"}[case["format"]],
                "cluster_size=%d" % case["cluster"],
                "preallocation=" + case["prealloc"]]
    if case["format"] == "v3":
        options += ["refcount_bits=%d" % case["refcount"],
                    "extended_l2=" + case["extl2"]]
        if case["lazy"] != "off":
            options.append("lazy_refcounts=on")
        if case["pack"].startswith("zstd"):
            options.append("compression_type=zstd")
        if case["datafile"] != "none":
            options.append("data_file=data.raw")
        if case["datafile"] == "raw":
            options.append("data_file_raw=on")
    return options


def _create_top(rng, image, size, below):
    case, folder = image.case, image.folder
    options = _options(image)
    argv = ["-o", ",".join(options)] if options else []
    name = None
    if below:
        name = backing_name(case["naming"], below[0], below[1], folder)
    if case["pack"].endswith("convert"):
        raw_file(rng, os.path.join(folder, "source.raw"), size)
        if name:
            argv += ["-B", name, "-F", below[1]]
        _convert_packed(image, argv)
        return
    if name:
        argv += ["-b", name, "-F", below[1]]
    if image.encrypted:
        argv += SECRET_OBJECT
    qemu_create(["-f", image.driver] + argv + [image.file, str(size)], folder)


def _convert_packed(image, argv):
    """
    `convert -c`.  QEMU 7.2 fails silently on version 1, after all the data is
    written (its closing empty write is refused): there the bytes decide.
    """
    folder = image.folder
    argv = [QEMU_IMG, "convert", "-c", "-f", "raw", "-O", image.driver] + \
        argv + ["source.raw", image.file]
    if image.driver != "qcow":
        must(argv, folder)
        return
    result = run(argv, folder)
    if result.code != 0 and result.err:
        raise BuildError("; ".join(result.text()))
    must([QEMU_IMG, "compare", "source.raw", image.file], folder)


def _args_for(image, verb_args):
    """qemu-img arguments for a verb that writes to the top image."""
    if image.encrypted:
        return verb_args[:1] + SECRET_OBJECT + ["--image-opts"] + \
            verb_args[1:] + [image.image_opts()]
    return verb_args + [image.file]


def _add_bitmaps(rng, image):
    for i in range(image.case["bitmaps"]):
        # The size comes behind the file, as vdsm writes it.
        argv = ["bitmap", "--add"]
        if i == 1:
            argv += ["--disable", "-g", str(512 << rng.randint(0, 8))]
        args = _args_for(image, argv) + ["bitmap%d" % i]
        must([QEMU_IMG] + args, image.folder)


def _snapshot(image, name):
    """Takes a snapshot, and the disk as it is now: what it has to hold."""
    must([QEMU_IMG] + _args_for(image, ["snapshot", "-c", name]), image.folder)
    must([QEMU_IMG, "convert", "-O", "raw"] + image.open_args() +
         [name + ".raw"], image.folder)
    image.snapshots.append(name)


def _resize(rng, image, size, grow):
    """A v3 image may change its size over a snapshot, which keeps its own."""
    if image.case["format"] != "v3":
        return size
    sectors = size // 512
    step = rng.randint(1, sectors // 5)
    sectors += step if grow else -step
    verb = ["resize"] if grow else ["resize", "--shrink"]
    args = _args_for(image, verb) + [str(sectors * 512)]
    must([QEMU_IMG] + args, image.folder)
    return sectors * 512


def _fill(rng, image, writer, size):
    qemu_io(image.open_args(), writer.draw(size), image.folder)


def build(case, folder, seed):
    """Makes the image of `case` in the empty `folder`."""
    rng = random.Random("%s/%s" % (seed, case["number"]))
    image = Image(case, folder)
    _pattern_files(rng, folder)
    write_file(os.path.join(folder, SECRET_FILE),
               rng.choice([b"open sesame", b"line\n", "\u00fcber".encode(),
                           b"x" * 40]))
    size = disk_size(rng, case)
    below = _build_bases(rng, image, size)
    _create_top(rng, image, size, below)
    size = -(-size // 512) * 512
    _add_bitmaps(rng, image)

    writer = Writer(rng, case["cluster"], image.driver,
                    case["pack"].endswith("write"))
    if case["pack"].endswith("convert"):
        writer.touched.update(range(size // case["cluster"] + 1))
    _fill(rng, image, writer, size)
    for i in range(case["snapshots"]):
        _snapshot(image, "snap%d" % i)
        size = _resize(rng, image, size, i == 0)
        _fill(rng, image, writer, size)
    if case["lazy"] == "killed":
        commands = writer.draw(size) + ["flush", "sigraise 9"]
        qemu_io(image.open_args(), commands, folder)
    image.size = size
    settle(folder)
    return image
