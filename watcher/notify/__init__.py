"""Telling somebody: what opened, what is over, and what is still open, by the addresses of `notify.urls_file`."""
