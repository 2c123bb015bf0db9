"""The service: its client, its rate windows, and a local stand-in of it."""
