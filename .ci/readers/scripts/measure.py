"""Runs a command on some of the cores, and writes its seconds, its seconds of CPU and its peak megabytes to a file:
measure.py FILE CORES COMMAND...

A process of its own: Linux counts the memory of whoever starts a command as the command's, and pytest's is large.
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import time

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(sys.argv[2])])
start = time.monotonic()
code = subprocess.run(sys.argv[3:]).returncode
seconds = time.monotonic() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
figures = [seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]
pathlib.Path(sys.argv[1]).write_text(json.dumps(figures))
sys.exit(code)
