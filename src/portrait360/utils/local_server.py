"""Address and port of servers that only this machine can reach."""

from __future__ import annotations

import os
import socket

from portrait360.utils.errors import UserError

HOST = "127.0.0.1"  # never reachable from other machines


def free_port(preferred: int) -> int:
    """Return the preferred port if it is free, else any free one."""
    for port in (preferred, 0):
        with socket.socket() as trial:
            if os.name == "posix":  # a port that was just closed counts as free
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((HOST, port))
            except OSError:
                continue
            return int(trial.getsockname()[1])
    raise UserError("No network port is free; close another program that runs a server.")
