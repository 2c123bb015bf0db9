"""The page in the browser, /healthz and /metrics, served from a thread of the daemon.

The gate judges every request before a route sees it. The routes ask `views` alone, and answer with whole bodies: a
slow client must hold no transaction open. What a request needs is read when it comes: an idle page costs nothing.
"""
