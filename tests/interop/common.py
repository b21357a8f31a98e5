# SPDX-License-Identifier: MIT
"""What the interop programs share: running tools, TAP, scratch folders."""

import functools
import os
import shutil
import subprocess
import sys
import tempfile

QEMU_IMG = os.environ.get("QEMU_IMG", "qemu-img")
QEMU_IO = os.environ.get("QEMU_IO", "qemu-io")
BYRE = os.path.abspath(os.environ.get("BYRE", "byre"))
TIMEOUT_SECONDS = 240


class Result:
    """How a command ended.  `out` and `err` are bytes."""

    def __init__(self, argv, code, out, err):
        self.argv = argv
        self.code = code
        self.out = out
        self.err = err

    @property
    def died(self):
        return self.code < 0

    def text(self):
        """The command and its end, for a diagnostic."""
        lines = ["$ " + " ".join(self.argv), "exit %d" % self.code]
        lines += self.out.decode("utf-8", "replace").splitlines()[:12]
        lines += self.err.decode("utf-8", "replace").splitlines()[:12]
        return lines


def run(argv, cwd, env=None):
    """Runs to the end; a command that takes too long counts as killed."""
    merged = dict(os.environ, LC_ALL="C", TZ="UTC", **(env or {}))
    with subprocess.Popen(argv, cwd=cwd, env=merged,
                          stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        try:
            out, err = p.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            p.kill()
            out, err = p.communicate()
            err += b"(took longer than %d s)" % TIMEOUT_SECONDS
        return Result(argv, p.returncode, out, err)


class BuildError(Exception):
    """The partner tool could not make what the case asks for."""


def must(argv, cwd, env=None):
    """Runs a command that only prepares: its failure is no verdict on byre."""
    result = run(argv, cwd, env)
    if result.code != 0:
        raise BuildError("; ".join(result.text()))
    return result


class Tap:
    """Collects checks and prints them as TAP."""

    def __init__(self):
        self.count = 0
        self.failed = 0

    def check(self, good, name, details=()):
        self.count += 1
        if not good:
            self.failed += 1
        print("%s %d - %s" % ("ok" if good else "not ok", self.count, name))
        if not good:
            for line in details:
                print("#   " + line)
        sys.stdout.flush()
        return good

    def skip(self, name, reason):
        self.count += 1
        print("ok %d - %s # SKIP %s" % (self.count, name, reason))
        sys.stdout.flush()

    def finish(self):
        print("1..%d" % self.count)
        return 1 if self.failed else 0


def skip_all(reason):
    print("1..0 # SKIP " + reason)
    sys.exit(0)


def need_tools(*tools):
    for tool in tools:
        if shutil.which(tool) is None:
            skip_all(tool + " is not installed")
    if not os.access(BYRE, os.X_OK):
        sys.exit("BYRE=%s is not a program" % BYRE)


@functools.lru_cache(maxsize=None)
def _features():
    result = run([BYRE, "--version"], ".")
    for line in result.out.decode().splitlines():
        if line.startswith("features:"):
            return line.split()[1:]
    sys.exit("%s --version names no features" % BYRE)


def missing_feature(needed):
    """The first of `needed` that this byre was built without, or None."""
    return next((n for n in needed if n not in _features()), None)


class Scratch:
    """A folder that goes away, with byre in it under the name qemu-img too."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="byre-interop-")
        self.as_qemu = os.path.join(self.path, "qemu-img")
        os.symlink(BYRE, self.as_qemu)
        return self

    def __exit__(self, *_):
        if not os.environ.get("INTEROP_KEEP"):
            shutil.rmtree(self.path, ignore_errors=True)

    def make(self, name):
        folder = os.path.join(self.path, name)
        os.makedirs(folder)
        return folder


def read_file(path):
    with open(path, "rb") as f:
        return f.read()


def write_file(path, data):
    with open(path, "wb") as f:
        f.write(data)


def settle(folder):
    """Flushes every file, so that what they take on disk stands still."""
    for entry in os.scandir(folder):
        if entry.is_file():
            fd = os.open(entry.path, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
