#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Puts every image to `check` and its repair, and reports in TAP.

  BYRE=build/tool/byre check.py [--show] [case ...]

Were this test deleted, nothing would notice that check misses damage, finds
some that is not there, or that a repair loses what could be read before it.

Of every image, whatever is wrong with it: check changes nothing, ends, tells
the same by exit code, JSON, text and findings; after -r leaks and -r all the
disk and its snapshots read as before wherever they could be read, and a second
look finds what the repair said was left.

The folders of damage say more in their `case` file:
  check: corruptions N, leaks N    what is found at first; or: refused
  refused: WORDS                   in the message then
  says: WORDS                      in the text of a finding
  left: corruptions N, leaks N     what is found after -r all
  still: WORDS                     in the text of a finding then
  disk-sha256: DIGEST              of the disk after the repair
  snapshot-sha256: NAME DIGEST     of a snapshot after the repair

--show prints what check finds.  BYRE_FEATURES and BYRE_SANITIZED are as in
run.py; a sanitized tool, which is slow, is given the damaged images only, unless
there is --all.
"""
import hashlib
import json
import os
import pathlib
import shutil
import struct
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from run import FEATURES, Run, execute, unpack  # noqa: E402

LARGEST_DISK_BYTES = 64 << 20
COUNTS = ("corruptions", "leaks", "corruptions-fixed", "leaks-fixed",
          "check-errors")
CORRUPT_TEXT = "Data may be corrupted, or further writes to the image may " \
    "corrupt it."
LEAKED_TEXT = "This means waste of disk space, but no harm to data."


def parse(path):
    """The lines of a `case` file that are for this program, by their keys."""
    wants = {"needs": [], "setup": []}
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(": ")
        if value and not line.startswith("#"):
            wants.setdefault(key, []).append(value)
    return wants


def stated(text):
    """The numbers of "corruptions N, leaks N"."""
    return {key: int(number) for key, number in
            (part.split(" ") for part in text.split(", "))}


class Look:
    """One run of check, by its JSON."""

    def __init__(self, bench, *options):
        self.options = " ".join(options)
        self.code, self.out, self.err, _ = bench.run(
            f"check --output=json --findings {self.options} image")
        self.json = {}
        self.complaints = list(self.judge())

    def judge(self):
        """Complaints about what every run must be like."""
        if self.code not in (0, 1, 2, 3, 63):
            yield f"exit is {self.code}"
            return
        lines = self.err.splitlines()
        if (len(lines) == 1) != (self.code in (1, 63)) or len(lines) > 1:
            yield f"exit is {self.code} with {len(lines)} lines on stderr"
        if self.code in (1, 63) and not self.out:
            return
        try:
            self.json = json.loads(self.out.encode())
        except ValueError:
            yield "stdout is no JSON"
            return
        if self.code != self.due_code():
            yield f"exit is {self.code}, not {self.due_code()}"
        yield from self.judge_findings()

    def judge_findings(self):
        """The list and the counts must not contradict each other."""
        kinds = [f["kind"] for f in self.json["findings"]
                 if not f["repaired"]]
        for kind, key in (("corruption", "corruptions"), ("leak", "leaks")):
            if (kind in kinds) != (self.count(key) > 0) \
                    and "-r" not in self.options:
                yield f"{kinds.count(kind)} findings are a {kind}, the " \
                    f"count is {self.count(key)}"

    def count(self, key):
        return self.json.get(key, 0)

    def due_code(self):
        if self.count("check-errors"):
            return 1
        if self.count("corruptions"):
            return 2
        return 3 if self.count("leaks") else 0

    def counts(self):
        return {key: self.count(key) for key in COUNTS}

    def texts(self):
        return [f["text"] for f in self.json.get("findings", [])]

    def show(self):
        """What was found, in a few lines."""
        lines = [f"check {self.options}: exit {self.code} "
                 + ", ".join(f"{k} {v}" for k, v in self.counts().items()
                             if v)]
        lines += [("    repaired " if f["repaired"] else "    ")
                  + f"{f['kind']}: {f['object']}: {f['text']}"
                  for f in self.json.get("findings", [])[:6]]
        return lines + ["    | " + line for line in self.err.splitlines()[:5]]


class Bench:
    """A folder with the files of a case, and the tool to put them to."""

    def __init__(self, folder, wants, root, tool):
        self.folder = folder
        self.wants = wants
        self.root = root
        self.tool = tool
        self.log = []
        self.complaints = []
        self.fresh("scratch")

    def fresh(self, name):
        """A new copy of the files to work on."""
        self.scratch = self.root / name
        self.scratch.mkdir()
        unpack(self.folder, self.scratch,
               [value.split(" ", 1) for value in self.wants["setup"]])

    def run(self, command):
        return execute(Run(command), self.scratch, self.tool.parent)

    def image(self):
        return (self.scratch / "image").read_bytes()

    def complain(self, text):
        self.complaints.append(text)

    def look(self, *options):
        look = Look(self, *options)
        self.log += look.show()
        for complaint in look.complaints:
            self.complain(f"check {look.options}: {complaint}")
        return look

    # ---- What can be read ----

    def digest(self, *options):
        """The SHA-256 of the disk, or None if it cannot be read."""
        out = self.scratch / "out.raw"
        code, _, _, _ = self.run(
            f"convert {' '.join(options)} -O raw image out.raw")
        found = None
        if code == 0 and out.exists():
            found = hashlib.sha256(out.read_bytes()).hexdigest()
        out.unlink(missing_ok=True)
        return found

    def readable(self):
        """The digests of the disk and its snapshots that can be read."""
        size, = struct.unpack_from(">Q", self.image()[:32].ljust(32), 24)
        found = {}
        if size <= LARGEST_DISK_BYTES:
            found["disk"] = self.digest()
        code, out, _, _ = self.run("info --output=json image")
        info = json.loads(out.encode()) if code == 0 else {}
        for snapshot in info.get("snapshots", [])[:3]:
            found[snapshot["name"]] = self.digest("-l snapshot.id="
                                                  + snapshot["id"])
        return {key: value for key, value in found.items() if value}

    def must_keep(self, before, what):
        after = self.readable()
        for key, digest in before.items():
            if after.get(key) != digest:
                self.complain(f"{what} changed what {key} reads as")
        return after


# ---- What holds for every image ----

def judge_text(bench, look):
    """The human form must say what the JSON says."""
    code, out, err, _ = bench.run("check image")
    if code != look.code:
        bench.complain(f"exit is {code} without JSON, {look.code} with it")
    want = []
    if look.json and not any(look.count(key) for key in COUNTS):
        want.append("No errors were found on the image.")
    if look.count("corruptions"):
        want += [f"{look.count('corruptions')} errors were found on the "
                 "image.", CORRUPT_TEXT]
    if look.count("leaks"):
        want += [f"{look.count('leaks')} leaked clusters were found on the "
                 "image.", LEAKED_TEXT]
    for line in want:
        if line not in out.splitlines():
            bench.complain(f"stdout of the human form lacks: {line}")
    lines = len(look.json.get("findings", [])) + (code in (1, 63))
    if len(err.splitlines()) != lines and "findings-omitted" not in look.json:
        bench.complain(f"{len(err.splitlines())} lines on stderr for {lines}")


def first_look(bench):
    before = bench.image()
    look = bench.look()
    judge_text(bench, look)
    if bench.image() != before:
        bench.complain("check has changed the image")
    return look


def repair_leaks(bench, look, before):
    bench.fresh("leaks")
    bench.look("-r leaks")
    after = bench.look()
    if look.code in (0, 3) and after.code not in (0, look.code):
        bench.complain(f"-r leaks made {after.code} of exit {look.code}")
    bench.must_keep(before, "-r leaks")


def repair_all(bench, before):
    """Returns the look after the repair, and what can be read then."""
    bench.fresh("all")
    repair = bench.look("-r all")
    repaired = bench.image()
    after = bench.look()
    if repair.code != after.code:
        bench.complain(f"exit is {repair.code} after the repair, and "
                       f"{after.code} at the second look")
    again = bench.look("-r all")
    fixed = again.count("leaks-fixed") + again.count("corruptions-fixed")
    if (fixed or bench.image() != repaired) and after.code not in (1, 2):
        bench.complain("a second repair found something to repair")
    return after, bench.must_keep(before, "-r all")


# ---- What the case says ----

def expect(bench, key, look):
    wanted = stated(bench.wants[key][0])
    found = {name: look.count(name) for name in wanted}
    if found != wanted:
        bench.complain(f"{key}: {found}, not {wanted}")


def expect_words(bench, key, look):
    for words in bench.wants.get(key, []):
        if not any(words in text for text in look.texts()):
            bench.complain(f"{key}: no finding says: {words}")


def expect_digests(bench, after):
    wanted = [("disk", value) for value in bench.wants.get("disk-sha256", [])]
    wanted += [value.split(" ") for value in
               bench.wants.get("snapshot-sha256", [])]
    for name, digest in wanted:
        if after.get(name) != digest:
            bench.complain(f"{name} does not read as it should: "
                           f"{after.get(name)}")


def judge(bench):
    """All complaints about one image."""
    wants = bench.wants
    look = first_look(bench)
    if wants.get("check") == ["refused"]:
        if look.code != 1:
            bench.complain(f"exit is {look.code}, not 1")
        for words in wants.get("refused", []):
            if words not in look.err:
                bench.complain(f"stderr lacks: {words}")
        return
    before = bench.readable()
    repair_leaks(bench, look, before)
    after, reads = repair_all(bench, before)
    if "check" in wants:
        expect(bench, "check", look)
        expect_words(bench, "says", look)
        expect(bench, "left", after)
        expect_words(bench, "still", after)
        expect_digests(bench, reads)


def check_case(folder, tool):
    """The part that the build lacks or None, complaints, and the log."""
    wants = parse(folder / "case")
    for part in wants["needs"]:
        if FEATURES is not None and part not in FEATURES.split():
            return part, [], []
    root = pathlib.Path(tempfile.mkdtemp(prefix="byre-check-"))
    try:
        names = root / "names"
        names.mkdir()
        (names / "byre").symlink_to(tool)
        bench = Bench(folder, wants, root, names / "byre")
        judge(bench)
        return None, bench.complaints, bench.log
    finally:
        shutil.rmtree(root)


def main():
    found = shutil.which(os.environ.get("BYRE", "byre"))
    if found is None:
        print("Bail out! there is no tool: set BYRE")
        return 1
    tool = pathlib.Path(found).resolve()
    show = "--show" in sys.argv[1:]
    sanitized = os.environ.get("BYRE_SANITIZED") == "1"
    which = "damaged-*" if sanitized and "--all" not in sys.argv[1:] else "*"
    folders = [HERE / name for name in sys.argv[1:]
               if not name.startswith("--")] \
        or sorted(path.parent for path in HERE.glob(which + "/case"))
    failures = 0
    print(f"1..{len(folders)}")
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = pool.map(lambda folder: check_case(folder, tool), folders)
        for number, (folder, result) in enumerate(zip(folders, results), 1):
            lacking, complaints, log = result
            failures += bool(complaints)
            skip = f" # SKIP built without {lacking}" if lacking else ""
            print(f"{'not ' if complaints else ''}ok {number} - "
                  f"{folder.name}{skip}")
            for line in complaints + (log if complaints or show else []):
                print(f"# {line}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
