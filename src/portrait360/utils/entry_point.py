"""Ending a program with one plain sentence and an exit code instead of a traceback."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import NoReturn

from portrait360.utils.collection import skip_last_collection
from portrait360.utils.errors import Interrupted, UserError
from portrait360.utils.memory import address_space_limit
from portrait360.utils.option_fields import name_flags
from portrait360.utils.parallel.workers import watch_parent
from portrait360.utils.terminal import escape_controls

PARENT = "PORTRAIT360_PARENT"  # set by a program that starts a command: the process that the command ends with
ADDRESS_SPACE = 2_700_000_000  # bytes that `make` with its libraries needs, for views of the default size
LEAST_SPACE = 1_200_000_000  # with less, OpenBLAS asks for memory again and again, for ever, as soon as it is loaded


def run_entry_point(run: Callable[[], object]) -> None:
    # Waiting threads spin less: beside another busy program 100 steps of a fit take 13 instead of 18 seconds; alone
    # they take as long as before. torch and numba read this once, when they start their threads.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    # numpy's products are small, or made beside other threads: there a second thread of its own only waits and spins
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if isinstance(sys.stdout, TextIOWrapper):  # a name that the terminal's encoding lacks is no reason to fail
        sys.stdout.reconfigure(errors="replace")
    if parent := os.environ.pop(PARENT, ""):
        watch_parent(int(parent))
    limit = address_space_limit()
    if limit is not None and limit < LEAST_SPACE:
        exit_with(f"{_ask_for_space(limit)}.", code=2)
    skip_last_collection()
    for name in ("SIGINT", "SIGTERM"):  # both unwind the stack, so that no half-written file stays
        signal.signal(getattr(signal, name), stop)
    try:
        run()
    except UserError as error:
        exit_with(*error.sentences, code=2)
    except Interrupted as stopped:
        exit_with(str(stopped) or "Stopped. Run the same command again to resume.", code=130)
    except Exception as error:  # the message says how to see the traceback
        if os.environ.get("PORTRAIT360_DEBUG"):
            raise
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            exit_with(f"A name is too long for this system: {str(error.filename)[:80]}…; give a shorter one.", code=2)
        if sentence := _explain_memory(error):
            exit_with(sentence, code=2)
        exit_with(internal_error_message(error), code=1)


def stop(*_: object) -> None:
    raise Interrupted


def _explain_memory(error: Exception) -> str | None:
    """Return a sentence if an error may come from too little memory, which libraries tell in odd ways."""
    limit = address_space_limit()
    if limit is not None and limit < ADDRESS_SPACE:
        return f"{_ask_for_space(limit)} ({describe_error(error)})."
    if _is_out_of_memory(error):
        return "There is not enough memory; close other programs, or use smaller settings."
    return None


def _ask_for_space(limit: int) -> str:
    return (
        f"portrait360 needs about {ADDRESS_SPACE / 1e9:.1f} GB of address space, but this shell grants "
        f"{limit / 1e9:.1f} GB; raise it with `ulimit -v`"
    )


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "Insufficient memory" in str(error)  # the latter is OpenCV's


def describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def internal_error_message(error: Exception) -> str:
    text = describe_error(error)
    return f"This is a bug in portrait360 ({text}). Run again with PORTRAIT360_DEBUG=1 and report the output."


def exit_with(*sentences: str, code: int) -> NoReturn:
    for sentence in sentences:
        print(f"portrait360: {escape_controls(name_flags(sentence))}", file=sys.stderr)
    raise SystemExit(code)
