"""Ending a program with one plain sentence and an exit code instead of a traceback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from portrait360.utils.errors import Interrupted, UserError
from portrait360.utils.option_fields import name_flags


def run_entry_point(run: Callable[[], object]) -> None:
    # Waiting threads spin less: beside another busy program 100 steps of a fit take 13 instead of 18 seconds; alone
    # they take as long as before. torch and numba read this once, when they start their threads.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    for name in ("SIGINT", "SIGTERM"):  # both unwind the stack, so that no half-written file stays
        signal.signal(getattr(signal, name), stop)
    try:
        run()
    except UserError as error:
        exit_with(str(error), 2)
    except Interrupted:
        exit_with("Stopped; the same command goes on from here.", 130)
    except Exception as error:  # the message says how to see the traceback
        if os.environ.get("PORTRAIT360_DEBUG"):
            raise
        exit_with(internal_error_message(error), 1)


def stop(*_: object) -> None:
    raise Interrupted


def internal_error_message(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return f"This is a mistake of portrait360 ({text}); set PORTRAIT360_DEBUG=1 to see where, and please report it."


def exit_with(sentences: str, code: int) -> None:
    for sentence in name_flags(sentences).splitlines():
        print(f"portrait360: {sentence}", file=sys.stderr)
    raise SystemExit(code)
