#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the cases of tests/tool and prints TAP.

A case is VERB/NAME.sh.  It runs in a scratch directory of its own with

  BYRE      the tool
  QEMU_IMG  the same tool under the name qemu-img
  TOOLS     this directory, for functions.sh

and passes if its stdout, stderr and exit status are those of NAME.stdout,
NAME.stderr and NAME.exit (none: empty, or 0).  Exit status 77 skips it; its
last line of stdout says why.  The real qemu-img is found by its plain name.

usage: run.py [--refresh] [--byre PATH] [VERB/NAME]...
--refresh writes the expected files instead of comparing them.
"""
import argparse
import difflib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
TIMEOUT_SECONDS = 120
SKIPPED = 77


def run_case(script, byre):
    """Runs one case; returns (stdout, stderr, exit status)."""
    with tempfile.TemporaryDirectory(prefix='byre-tool-') as scratch:
        tools = pathlib.Path(scratch, 'tools')
        work = pathlib.Path(scratch, 'work')
        tools.mkdir()
        work.mkdir()
        (tools / 'qemu-img').symlink_to(byre)
        env = dict(os.environ, BYRE=str(byre), QEMU_IMG=str(tools / 'qemu-img'),
                   TOOLS=str(HERE), LC_ALL='C', TZ='UTC')
        process = subprocess.Popen(
            ['sh', str(script)], cwd=work, env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True)
        try:
            out, err = process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            err += b'(took longer than %d s)\n' % TIMEOUT_SECONDS
        return out, err, process.returncode


def expected_path(script, part):
    return script.with_suffix('.' + part)


def expected(script, part):
    path = expected_path(script, part)
    return path.read_bytes() if path.exists() else b''


def refresh(script, parts):
    for part, content in parts.items():
        path = expected_path(script, part)
        if content:
            path.write_bytes(content)
        elif path.exists():
            path.unlink()


def differences(script, parts):
    """Unified differences of all parts, as lines."""
    lines = []
    for part, content in parts.items():
        want = expected(script, part)
        if want != content:
            lines += difflib.unified_diff(
                want.decode(errors='backslashreplace').splitlines(),
                content.decode(errors='backslashreplace').splitlines(),
                'expected ' + part, part, lineterm='')
            if want.rstrip(b'\n') == content.rstrip(b'\n'):
                lines.append('(newlines at the end differ)')
    return lines


def judge(script, byre, refreshing):
    """Returns (passed, skip reason or None, lines of explanation)."""
    out, err, status = run_case(script, byre)
    if status == SKIPPED:
        reason = out.decode(errors='replace').strip().splitlines() or ['']
        return True, reason[-1], []
    parts = {
        'stdout': out,
        'stderr': err,
        'exit': b'%d\n' % status if status else b'',
    }
    if refreshing:
        refresh(script, parts)
        return True, None, []
    lines = differences(script, parts)
    return not lines, None, lines


def let_cases_be_signaled():
    """A signal that is ignored here (nohup) must not be ignored in the cases.

    What is ignored stays so in a child; what is caught does not.
    """
    for number in signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def find_cases(names):
    cases = sorted(path for path in HERE.glob('*/*.sh'))
    if not names:
        return cases
    return [c for c in cases
            if any(str(c.relative_to(HERE)).startswith(n) for n in names)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--refresh', action='store_true')
    parser.add_argument('--byre', default=os.environ.get('BYRE', 'byre'))
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()
    byre = pathlib.Path(options.byre).resolve()
    if not byre.exists():
        print('Bail out! there is no tool at %s' % byre)
        return 1

    if shutil.which('qemu-img') is None:
        print('1..0 # SKIP the cases make their images with qemu-img')
        return 0
    let_cases_be_signaled()
    cases = find_cases(options.names)
    print('1..%d' % len(cases), flush=True)
    failed = 0
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = pool.map(
            lambda case: judge(case, byre, options.refresh), cases)
        for number, (case, result) in enumerate(zip(cases, results), 1):
            passed, skipped, lines = result
            failed += not passed
            name = str(case.relative_to(HERE).with_suffix(''))
            print('%sok %d - %s%s' % (
                '' if passed else 'not ', number, name,
                ' # SKIP ' + skipped if skipped is not None else ''))
            for line in lines:
                print('# ' + line)
            sys.stdout.flush()
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
