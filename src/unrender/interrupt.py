"""Ctrl-C before a command has begun: it ends the process, without a traceback of whatever is being imported.

First of all that is imported, and of nothing but what is built into the interpreter. Of a program that is not the
command, signals are its own.
"""

import _signal  # ty: ignore[import-not-found]  # `signal` itself imports enum: milliseconds
import sys

if getattr(sys, "argv", [""])[0].replace("\\", "/").rpartition("/")[2] in ("-m", "unrender") and (
    _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
):
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # until `cli.process` says better
