# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inputs that a fuzzer finds because they reach new lines of a reader: an error or a result, in limited time and memory."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_targets import TARGETS
from fuzzing import JUNK

SECONDS = int(os.environ.get("REPOMAN_COVERAGE", "0"))
SEED = int(os.environ.get("REPOMAN_SEED") or "0")
LIMITS = ("-timeout=60", "-rss_limit_mb=1500", "-max_len=20000")
"""Only a hang takes longer, and only something that has no limit takes more."""


def run(name: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run the fuzzer."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(Path(__file__).parents[1] / "coverage_guided.py"), name, *LIMITS, *argv]
    return subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)


def dictionary(inputs: tuple[bytes, ...]) -> str:
    """Return the words of inputs, and what can stand between them, as libFuzzer reads it."""
    words = {*re.findall(rb"[\w.-]+", b" ".join(inputs)), *(each for each in JUNK if len(each) <= 16)}
    return "".join('"{}"\n'.format("".join(f"\\x{byte:02x}" for byte in word)) for word in sorted(words))


@pytest.mark.skipif(not SECONDS, reason="takes minutes: make test-long")
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python")
@pytest.mark.parametrize("name", TARGETS)
def test_coverage_guided(tmp_path: Path, name: str) -> None:
    """From valid inputs and their words."""
    (tmp_path / "inputs").mkdir()
    for at, valid in enumerate(TARGETS[name].valid):
        (tmp_path / "inputs" / str(at)).write_bytes(valid)
    (tmp_path / "words").write_text(dictionary(TARGETS[name].valid))
    options = [f"-max_total_time={SECONDS}", f"-seed={SEED + 1}", f"-dict={tmp_path}/words", f"-artifact_prefix={tmp_path}/"]
    done = run(name, *options, str(tmp_path / "inputs"))
    saved = {path: path.read_bytes()[:2000] for path in tmp_path.iterdir() if path.is_file() and path.name != "words"}
    assert done.returncode == 0, (saved, done.stdout[-4000:], done.stderr[-4000:])
    assert not saved
    runs = re.search(r"Done (\d+) runs", done.stderr)
    assert runs and int(runs[1]) > 100, done.stderr[-2000:]
    assert len(list((tmp_path / "inputs").iterdir())) > len(TARGETS[name].valid), "no input has reached a new line"
