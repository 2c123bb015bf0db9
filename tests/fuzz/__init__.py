"""Inputs that nobody would write, for a bounded time: `python -m tests.fuzz`. Each find can be played again."""
