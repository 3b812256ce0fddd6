"""Peak memory of a program run on its own."""

import subprocess
import sys

# not ru_maxrss: that begins with the memory of the process that started this one
PEAK = "int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1]) * 1024"


def run_and_read(script: str, *arguments: str) -> int:
    """Run a script that prints one number; `peak()` in it is the peak so far in bytes."""
    program = f"import sys\npeak = lambda: {PEAK}\n{script}"
    run = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
