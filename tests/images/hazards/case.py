# SPDX-License-Identifier: MIT
"""
A case: one hostile image, and what the tool must do with it.

Case.text() is the `case` file of its folder; ../run.py reads it.
"""
import hashlib

CONVERT = "convert -O raw image out.raw"
INFO = "info image"
MAP = "map --output=json image"


def zeroes(length):
    """What a disk reads as where nothing is stored."""
    return bytes(length)


class Case:
    """A folder in the making: its files, and the runs they must survive."""

    def __init__(self, name, hazard, image, needs=(), setup=(), **files):
        self.name = name
        self.hazard = hazard
        self.files = {"image": image, **files}
        self.lines = [f"needs: {part}" for part in needs]
        self.lines += [f"setup: {step}" for step in setup]

    def run(self, command, exit_code=0, stderr=(), stdout=(), absent=(),
            content=None, memory=None, name=None):
        """
        One run of the tool.  `content` is what out.raw must hold; `memory` is
        in MiB; `name` is what the tool is called by instead of byre.
        """
        self.lines.append("")
        self.lines.append(f"run: {command}")
        if name is not None:
            self.lines.append(f"as: {name}")
        self.lines.append(f"exit: {exit_code}")
        self.lines += [f"stderr: {words}" for words in stderr]
        self.lines += [f"stdout: {words}" for words in stdout]
        self.lines += [f"stdout-not: {words}" for words in absent]
        if content is not None:
            digest = hashlib.sha256(content).hexdigest()
            self.lines.append(f"output-sha256: {digest}")
        if memory is not None:
            self.lines.append(f"limit: memory {memory}")
        return self

    def fails(self, command, *words, exit_code=1, **more):
        """The run is refused in one line that holds all of `words`."""
        return self.run(command, exit_code, stderr=words, **more)

    def reads(self, content, command=CONVERT, **more):
        """The disk reads as `content`."""
        return self.run(command, content=content, **more)

    def text(self):
        return "\n".join([f"# {self.hazard}"] + self.lines) + "\n"


def refused(name, hazard, image, *words, **more):
    """The image is refused whatever is asked of it."""
    case = Case(name, hazard, image, **more)
    return case.fails(INFO, *words, memory=64).fails(
        CONVERT, *words, memory=64)


def unreadable(name, hazard, image, *words, **more):
    """The image can be described, but not read."""
    case = Case(name, hazard, image, **more)
    return case.run(INFO).fails(CONVERT, *words, memory=64)


def unmappable(name, hazard, image, *words, **more):
    """Neither the bytes nor the place of a cluster can be told."""
    case = unreadable(name, hazard, image, *words, **more)
    return case.fails(MAP, *words, memory=64).fails(
        "compare image image", *words, exit_code=3)


def accepted(name, hazard, image, content, **more):
    """The image looks wrong and is right: it reads as `content`."""
    case = Case(name, hazard, image, **more)
    return case.run(INFO, memory=64).reads(content, memory=64)
