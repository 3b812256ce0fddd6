"""What the benchmark of whole runs says where one of them fails."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest

from benchmarks.make import LONGEST_ERROR, start_make, wait_for


@pytest.mark.parametrize(("code", "status"), [("1 / 0", "1"), ("import os; os.abort()", "-6")])
def test_a_run_that_fails_leaves_its_status_and_the_end_of_what_it_said(code, status):
    script = f"import sys; print('x' * {2 * LONGEST_ERROR}, file=sys.stderr); print('the end', file=sys.stderr)"
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([sys.executable, "-X", "faulthandler", "-c", f"{script}; {code}"], stderr=errors)
        with pytest.raises(SystemExit) as stopped:
            wait_for(process, errors)
    text = str(stopped.value)
    assert f"ended with status {status};" in text and "the end" in text and "<string>" in text
    assert len(text) < 4 * LONGEST_ERROR


def test_the_message_of_the_command_is_kept(tmp_path):
    with tempfile.TemporaryFile() as errors:
        process = start_make(tmp_path / "none.jpg", tmp_path / "out", (), errors)
        with pytest.raises(SystemExit, match=r"status 2; .*There is no file .*none\.jpg"):
            wait_for(process, errors)
    with tempfile.TemporaryFile() as errors:  # a run that ends well says nothing
        wait_for(subprocess.Popen([sys.executable, "-c", ""], stderr=errors), errors)
