"""A Python program in a process that may write files up to a size: limited_command.py LARGEST_FILE_BYTES PROGRAM …"""

from __future__ import annotations

import resource
import runpy
import signal
import sys

if __name__ == "__main__":
    _, largest, program, *arguments = sys.argv
    # Writing beyond the limit is then an error of the call (EFBIG), not the end of the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")
