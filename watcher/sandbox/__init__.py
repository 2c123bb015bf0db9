"""A local stand-in of the identifAI audio service, over real HTTP: it charges nothing and forgets nothing.

It follows what is known of the service: the documented statuses and bodies to the letter, JSON or text by
the first Accept type, a type judged by content, fixed rate windows that count a request once its body has
been received, and a cache: the same bytes with the same options are paid for once, unless `no_cache` is sent.

What is not documented is invented, and named in the answer's header X-Sandbox-Invented: the body of a 400 for
lack of credit, of a 404 and of a refused boolean; the page that an error is where JSON is not preferred; and
everything about what a recording contains. A recording is "human" unless its first 4,096 bytes hold the
ASCII text `sandbox:artificial`, `sandbox:inconclusive` (a null verdict), `sandbox:errored` or
`sandbox:unsupported` (refused with 400). `webhook_url` is recorded and never called.

Beside the service's endpoints it has its own, which need no key: GET /sandbox/ledger; POST /sandbox/faults
with the settings of a SandboxFault, GET and DELETE for what is switched on.
"""

from watcher.sandbox.command import PORT, serve
from watcher.sandbox.content import Fate
from watcher.sandbox.entries import Ledger, LedgerEntry
from watcher.sandbox.faults import FaultKind, SandboxFault
from watcher.sandbox.server import READS, WRITES, Sandbox
from watcher.sandbox.throttle import Passed, Refused, Throttle

__all__ = [
    "PORT",
    "READS",
    "WRITES",
    "Fate",
    "FaultKind",
    "Ledger",
    "LedgerEntry",
    "Passed",
    "Refused",
    "Sandbox",
    "SandboxFault",
    "Throttle",
    "serve",
]
