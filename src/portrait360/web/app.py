"""stub"""

from pathlib import Path


def serve(folder: Path, port: int) -> None: ...
