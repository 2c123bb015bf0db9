"""/healthz and /metrics, for those who are no people. Each asks the store when it is asked."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from watcher.errors import StoreError
from watcher.journey.failures import Failures
from watcher.views.context import CommandContext
from watcher.views.health import find_troubles, read_vitals
from watcher.views.metrics import read_figures
from watcher.web.collector import FiguresCollector


class Monitoring:
    """The endpoints that a monitor asks for. `context`: makes one for each request."""

    def __init__(self, context: Callable[[], CommandContext], failures: Failures) -> None:
        self._context = context
        self._failures = failures

    def healthz(self, _: Request) -> Response:
        """200 while scans and steps succeed, as `watcher status --healthy` judges; else 503, and why not."""
        context = self._context()
        try:
            said = self._troubles(context)
        except StoreError as error:
            said = [f"{error.message} {error.hint}".strip()]
        if not said:
            return PlainTextResponse("ok\n")
        veil = context.config.veil
        shown = [one if veil is None else veil.hide_in(one, ()) for one in said]
        return PlainTextResponse("".join(f"{one}\n" for one in shown), 503)

    def metrics(self, request: Request) -> Response:
        """The figures of now. Where they cannot be read there are none: the scrape fails, and `up` is 0."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(FiguresCollector(read_figures(self._context(), self._failures)))
        try:
            encode, kind = choose_encoder(request.headers.get("accept", ""))
        except (TypeError, ValueError):  # a version that is none
            encode, kind = choose_encoder("")
        return Response(encode(registry), media_type=kind)

    def _troubles(self, context: CommandContext) -> list[str]:
        rescan = context.config.arrivals.rescan_seconds
        return [trouble.said for trouble in find_troubles(read_vitals(context), context.clock.now(), rescan)]
