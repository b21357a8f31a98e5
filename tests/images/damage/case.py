# SPDX-License-Identifier: MIT
"""
A case of damage: an image, what check must find, and what a repair must keep.
"""
import hashlib

from hazards.case import Case


def counts(corruptions=0, leaks=0, errors=0):
    unseen = f", check-errors {errors}" if errors else ""
    return f"corruptions {corruptions}, leaks {leaks}{unseen}"


class Damaged(Case):
    """
    `found` and `left` are (corruptions, leaks): before the repair, and after
    it; and a third number of parts that could not be looked at.  `says` must be in findings, `still` in those after the repair.  `disk`
    is what the disk must read as after the repair (None: it cannot be read),
    `snapshots` the same for snapshots by their names.  `refused` are words of
    the message of a check that cannot be done.
    """

    def __init__(self, name, damage, image, found=(0, 0), says=(), left=(0, 0),
                 still=(), disk=None, snapshots=None, refused=(), **more):
        super().__init__("damaged-" + name, damage, image, **more)
        self.lines.append("")
        if refused:
            self.lines.append("check: refused")
            self.lines += [f"refused: {words}" for words in refused]
            return
        self.lines.append("check: " + counts(*found))
        self.lines += [f"says: {words}" for words in says]
        self.lines.append("left: " + counts(*left))
        self.lines += [f"still: {words}" for words in still]
        self.keep("disk-sha256:", disk)
        for name, content in (snapshots or {}).items():
            self.keep(f"snapshot-sha256: {name}", content)

    def keep(self, key, content):
        if content is not None:
            digest = hashlib.sha256(content).hexdigest()
            self.lines.append(f"{key} {digest}")
