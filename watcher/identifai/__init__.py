"""The service: its client and its rate windows."""
