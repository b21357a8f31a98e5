#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Runs the tool on hostile images and reports in TAP.

  BYRE=build/tool/byre run.py [case ...]

Were this test deleted, nothing would notice that an image made to harm its
reader crashes the tool, hangs it, exhausts memory, opens what it must not, or
is refused without saying why.

Each folder holds a `case` file.  Its first line says what the hazard is; then
  needs: PART               skip where the build lacks it (see BYRE_FEATURES)
  setup: fifo|folder NAME   make a pipe or a folder beside the image
and, for each run of the tool in a folder with the unpacked files:
  run: ARGUMENTS            starts a run
  as: NAME                  call the tool by this name
  exit: CODE                what it must return
  stderr: WORDS             must be in the one line on stderr
  stdout: WORDS             must be on stdout; stdout-not: must not
  output-sha256: DIGEST     of out.raw
  limit: memory MIB         the most it may hold
Always: no signal, no hang, one line on stderr after a failure and none after
success, no out.raw left by a failure, no change in the image, and JSON that is
JSON.  Cases without a run are for check.py.

BYRE_FEATURES lists the optional parts of the build; unset, all are there.
BYRE_SANITIZED=1 lifts the limits of memory, which sanitizers need.
"""
import hashlib
import json
import lzma
import os
import pathlib
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
TIMEOUT_SECONDS = 20
ADDRESS_SPACE_BYTES = 1 << 30
SANITIZED = os.environ.get("BYRE_SANITIZED", "0") == "1"
FEATURES = os.environ.get("BYRE_FEATURES")


class Run:
    """One run of the tool: its command line and what is expected of it."""

    def __init__(self, command):
        self.command = command
        self.wants = {"exit": [], "stderr": [], "stdout": [],
                      "stdout-not": [], "output-sha256": [], "limit": [],
                      "as": ["byre"]}


def parse(path):
    """The lines of a `case` file: what it needs, its setup, its runs."""
    needs, setup, runs = [], [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        key, value = line.split(": ", 1)
        if key == "needs":
            needs.append(value)
        elif key == "setup":
            setup.append(value.split(" ", 1))
        elif key == "run":
            runs.append(Run(value))
        elif key == "as":
            runs[-1].wants["as"] = [value]
        elif runs:
            runs[-1].wants[key].append(value)
    return needs, setup, runs


def unpack(folder, scratch, setup):
    """Fills the scratch folder with the files of the case."""
    for packed in folder.glob("*.xz"):
        target = scratch / packed.stem
        target.write_bytes(lzma.decompress(packed.read_bytes()))
        if target.suffix == ".tar":
            with tarfile.open(target) as archive:
                archive.extractall(scratch)
            target.unlink()
    for kind, name in setup:
        if kind == "fifo":
            os.mkfifo(scratch / name)
        else:
            (scratch / name).mkdir()


def limit_child():
    if not SANITIZED:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def execute(run, scratch, names):
    """Runs the tool; its exit code (or "hang"), outputs and most memory."""
    program = names / run.wants["as"][0]
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC",
                   "MALLOC_ARENA_MAX": "2"}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(
            [program, *shlex.split(run.command)], cwd=scratch,
            stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            env=environment, preexec_fn=limit_child)
        hung = []

        def give_up():
            hung.append(True)
            os.kill(child.pid, signal.SIGKILL)

        timer = threading.Timer(TIMEOUT_SECONDS, give_up)
        timer.start()
        _, status, usage = os.wait4(child.pid, 0)
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return ("hang" if hung else child.returncode,
                out.read().decode(errors="surrogateescape"),
                err.read().decode(errors="surrogateescape"), usage.ru_maxrss)


def check_output(run, scratch, code):
    """Complaints about out.raw; it is removed."""
    output = scratch / "out.raw"
    wanted = run.wants["output-sha256"]
    if not output.exists():
        return ["out.raw is missing"] if wanted else []
    found = hashlib.sha256(output.read_bytes()).hexdigest()
    size = output.stat().st_size
    output.unlink()
    if code != 0:
        return [f"out.raw was left behind, {size} bytes"]
    return [f"out.raw ({size} bytes) has SHA-256 {found}, not {digest}"
            for digest in wanted if digest != found]


def is_json(text):
    try:
        json.loads(text.encode())
    except ValueError:
        return False
    return True


def check_texts(run, code, out, err):
    """Complaints about what was printed."""
    lines = err.splitlines()
    if code == 0 and err:
        yield "stderr is not empty after success"
    if code != 0 and (len(lines) != 1 or not err.endswith("\n")):
        yield f"stderr has {len(lines)} lines, not one"
    if any(ord(character) < 32 or ord(character) == 127
           for character in "".join(lines)):
        yield "stderr holds control characters"
    if code == 0 and "--output=json" in run.command and not is_json(out):
        yield "stdout is no JSON"
    for words in run.wants["stderr"]:
        if words not in err:
            yield f"stderr lacks: {words}"
    for words in run.wants["stdout"]:
        if words not in out:
            yield f"stdout lacks: {words}"
    for words in run.wants["stdout-not"]:
        if words in out:
            yield f"stdout has: {words}"


def check_run(run, scratch, names):
    """Complaints about one run of the tool."""
    before = (scratch / "image").read_bytes()
    code, out, err, peak_kib = execute(run, scratch, names)
    complaints = []
    wanted = int(run.wants["exit"][0])
    if code != wanted:
        complaints.append(f"exit is {code}, not {wanted}")
    complaints += check_texts(run, code, out, err)
    complaints += check_output(run, scratch, code)
    if (scratch / "image").read_bytes() != before:
        complaints.append("the image has changed")
    # A child starts as a copy of this process and counts that as its own.
    own_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for limit in run.wants["limit"]:
        allowed_kib = max(int(limit.split()[1]) * 1024, own_kib)
        if peak_kib > allowed_kib and not SANITIZED:
            complaints.append(f"took {peak_kib} KiB, limit {allowed_kib} KiB")
    if complaints:
        complaints.insert(0, f"run: {run.wants['as'][0]} {run.command}")
        complaints += [f"  | {line}" for line in err.splitlines()[:5]]
    return complaints


def check_case(folder, tool):
    """None and complaints; or the part that the build lacks."""
    needs, setup, runs = parse(folder / "case")
    for part in needs:
        if FEATURES is not None and part not in FEATURES.split():
            return part, []
    root = pathlib.Path(tempfile.mkdtemp(prefix="byre-images-"))
    try:
        scratch, names = root / "scratch", root / "names"
        scratch.mkdir()
        names.mkdir()
        for name in {run.wants["as"][0] for run in runs}:
            (names / name).symlink_to(tool)
        unpack(folder, scratch, setup)
        return None, [complaint for run in runs
                      for complaint in check_run(run, scratch, names)]
    finally:
        shutil.rmtree(root)


def main():
    tool = pathlib.Path(os.environ.get("BYRE", "byre"))
    found = shutil.which(tool)
    if found is None:
        print(f"Bail out! there is no tool at {tool}: set BYRE")
        return 1
    tool = pathlib.Path(found).resolve()
    folders = [HERE / name for name in sys.argv[1:]] or sorted(
        path.parent for path in HERE.glob("*/case") if parse(path)[2])
    failures = 0
    print(f"1..{len(folders)}")
    for number, folder in enumerate(folders, 1):
        lacking, complaints = check_case(folder, tool)
        failures += bool(complaints)
        skip = f" # SKIP built without {lacking}" if lacking else ""
        print(f"{'not ' if complaints else ''}ok {number} - "
              f"{folder.name}{skip}")
        for complaint in complaints:
            print(f"# {complaint}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
