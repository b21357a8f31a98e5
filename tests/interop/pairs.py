# SPDX-License-Identifier: MIT
"""A few cases out of a product of axes, in which every pair of values occurs."""

import argparse
import itertools
import random
from concurrent.futures import ThreadPoolExecutor

from common import QEMU_IMG, QEMU_IO, Scratch, Tap, need_tools

# How many legal cases are drawn for each that is taken, and how many draws
# without anything new end the search.
CANDIDATES = 40
PATIENCE = 12


def _pairs_of(case):
    return set(itertools.combinations(sorted(case.items(), key=str), 2))


def _legal_case(axes, is_legal, rng):
    while True:
        case = {axis: rng.choice(values) for axis, values in axes.items()}
        if is_legal(case):
            return case


def draw(axes, is_legal, seed, most):
    """Up to `most` cases, numbered; the best first."""
    rng = random.Random(seed)
    seen, cases, idle = set(), [], 0
    while len(cases) < most and idle < PATIENCE:
        drawn = [_legal_case(axes, is_legal, rng) for _ in range(CANDIDATES)]
        best = max(drawn, key=lambda case: len(_pairs_of(case) - seen))
        idle = 0 if _pairs_of(best) - seen else idle + 1
        seen |= _pairs_of(best)
        if idle == 0:
            cases.append(dict(best, number=len(cases) + 1))
    return cases


def more(axes, is_legal, seed, count):
    """`count` cases at random, for the long form."""
    rng = random.Random(seed)
    return [dict(_legal_case(axes, is_legal, rng), number=number)
            for number in range(1, count + 1)]


def name(case, axes):
    """A case in a word: what it sets that is not the first of its axis."""
    parts = ["%s %s" % (axis, case[axis]) for axis in axes
             if case[axis] != axes[axis][0]]
    return "%03d %s" % (case["number"], ", ".join(parts) or "plain")


def main(axes, is_legal, most, full_count, check_case, check_rest=None):
    """The command line of a program that checks cases out of `axes`.

    check_case(case, scratch, seed) gives "ok", "skip" or "not ok" and lines
    that say why; check_rest(tap, scratch) is for what is no case.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()

    need_tools(QEMU_IMG, QEMU_IO)
    if options.full:
        cases = more(axes, is_legal, options.seed, full_count)
    else:
        cases = draw(axes, is_legal, options.seed, most)
    cases = [c for c in cases if options.only in (None, c["number"])]
    tap = Tap()
    with Scratch() as scratch, ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(
            lambda case: check_case(case, scratch, options.seed), cases)
        for case, (outcome, details) in zip(cases, results):
            if outcome == "skip":
                tap.skip(name(case, axes), " ".join(details))
            else:
                tap.check(outcome == "ok", name(case, axes), details)
        if check_rest is not None and options.only is None:
            check_rest(tap, scratch)
    return tap.finish()
