# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inputs that a fuzzer finds because they reach new code in a reader: an error or a result, in limited time and memory."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_targets import TARGETS
from fuzzing import JUNK

SECONDS = int(os.environ.get("REPOMAN_COVERAGE", "0"))
SEED = int(os.environ.get("REPOMAN_SEED") or "0")
LIMITS = ("-timeout=60", "-report_slow_units=60", "-rss_limit_mb=1500", "-max_len=4096", "-len_control=0")
"""Only a hang takes longer, and only unbounded growth takes more memory."""


def dictionary(inputs: tuple[bytes, ...]) -> str:
    """Return a dictionary for libFuzzer: the words in the inputs, and junk."""
    words = {*re.findall(rb"[\w.-]+", b" ".join(inputs)), *(each for each in JUNK if len(each) <= 16)}
    return "".join('"{}"\n'.format("".join(f"\\x{byte:02x}" for byte in word)) for word in sorted(words))


@pytest.mark.skipif(not SECONDS, reason="takes minutes: make test-long")
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.parametrize("name", TARGETS)
def test_coverage_guided(tmp_path: Path, short_dir: Path, name: str) -> None:
    """It begins with valid inputs and their words."""
    inputs, valid = tmp_path / "inputs", TARGETS[name].valid
    inputs.mkdir()
    for at, each in enumerate(valid):
        (inputs / str(at)).write_bytes(each)
    (tmp_path / "words").write_text(dictionary(valid))
    command = [sys.executable, str(Path(__file__).parents[1] / "coverage_guided.py"), name]
    options = [f"-max_total_time={SECONDS}", f"-seed={SEED + 1}", f"-dict={tmp_path}/words", f"-artifact_prefix={tmp_path}/"]
    path = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "TMPDIR": str(short_dir), "TEST_TMP": str(short_dir)}
    done = subprocess.run(
        [*command, *LIMITS, *options, str(inputs)],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS + 300,
        check=False,
    )
    saved = [each for each in tmp_path.iterdir() if each.is_file() and each.name != "words"]
    again = [f"PYTHONPATH={shlex.quote(path)} {shlex.join([*command, str(each)])}" for each in saved]
    assert done.returncode == 0 and not saved, (again, [each.read_bytes()[:500] for each in saved], done.stderr[-4000:])
    assert "Instrumenting tomlkit" in done.stderr, done.stderr[:2000]
    runs = re.search(r"Done (\d+) runs", done.stderr)
    assert runs and int(runs[1]) > 100, done.stderr[-2000:]
    assert len(list(inputs.iterdir())) > len(valid), "no input reached new code"
