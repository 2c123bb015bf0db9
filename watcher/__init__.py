"""Watches a drop folder, submits each recording once, and files it with a receipt."""

__version__ = "0.1.0"
