"""Runs the benchmarks named on the command line, or all of them, one after the other."""

import importlib
import pkgutil
import sys

from tests import benchmarks

names = sys.argv[1:] or sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name[0] != "_")
for name in names:
    print(f"\n== {name}", flush=True)
    importlib.import_module(f"tests.benchmarks.{name}").main()
