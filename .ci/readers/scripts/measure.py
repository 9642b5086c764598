"""Runs a command and writes its seconds and its peak megabytes to a file: measure.py FILE COMMAND...

A process of its own: Linux counts the memory of whoever starts a command as the command's, and pytest's is large.
"""

import json
import pathlib
import resource
import subprocess
import sys
import time

start = time.monotonic()
code = subprocess.run(sys.argv[2:]).returncode
seconds = time.monotonic() - start
megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
pathlib.Path(sys.argv[1]).write_text(json.dumps([seconds, megabytes]))
sys.exit(code)
