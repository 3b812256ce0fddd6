"""Whatever a program ends with is one plain sentence and an exit code, not a traceback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from portrait360.errors import Stopped, UserError


def plainly(run: Callable[[], object]) -> None:
    # threads that wait spin less: beside another busy program 100 steps of a fit take 13 instead of 18 seconds, alone
    # as long as before; it is read once, when torch and numba load their threads
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    for name in ("SIGINT", "SIGTERM"):  # to be ended is to be stopped: nothing half is left
        signal.signal(getattr(signal, name), stop)
    try:
        run()
    except UserError as error:
        fail(str(error), 2)
    except Stopped:
        fail("Stopped; the same command goes on from here.", 130)
    except Exception as error:  # the last line of defence; the sentence says how to see more
        if os.environ.get("PORTRAIT360_DEBUG"):
            raise
        fail(mistake(error), 1)


def stop(*_: object) -> None:
    raise Stopped


def mistake(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return f"This is a mistake of portrait360 ({text}); set PORTRAIT360_DEBUG=1 to see where, and please report it."


def fail(sentences: str, code: int) -> None:
    for sentence in sentences.splitlines():
        print(f"portrait360: {sentence}", file=sys.stderr)
    raise SystemExit(code)
