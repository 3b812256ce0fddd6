"""Servers that are for this machine alone."""

from __future__ import annotations

import os
import socket

from portrait360.errors import UserError

HOST = "127.0.0.1"  # what is shown is nobody else's business


def free_port(wanted: int) -> int:
    """The port asked for, or one that is free."""
    for port in (wanted, 0):
        with socket.socket() as trial:
            if os.name == "posix":  # a port that was just left is free
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((HOST, port))
            except OSError:
                continue
            return int(trial.getsockname()[1])
    raise UserError("No network port is free; close another program.")
