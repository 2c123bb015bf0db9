"""The metrics in Prometheus's words: base units, timestamps instead of ages, no path and no name as a label."""

from collections.abc import Iterable, Iterator
from math import inf

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from watcher import __version__
from watcher.views.metrics import Distribution, Figures, NodeFigures

Labelled = Iterable[tuple[tuple[str, ...], float]]


class FiguresCollector(Collector):
    """Gives the figures of one moment."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        yield _gauge("build_info", "The version that runs.", ["version"], [((__version__,), 1.0)])
        yield self._health()
        if self._figures.nodes is not None:
            yield from self._nodes(self._figures.nodes)
        if not self._figures.is_standing_by:  # else each alarm would ring once for each node
            yield from self._recordings()
            yield from self._service()
            yield from self._work()

    def _health(self) -> Metric:
        healthy = "1 while scans and steps succeed, as /healthz says in words."
        return _gauge("healthy", healthy, [], _plain(float(self._figures.is_healthy)))

    def _nodes(self, found: NodeFigures) -> Iterator[Metric]:
        holds = "1 while this node works on the site; 0: it stands by, and tells nothing else of the site."
        yield _gauge("node_holds_lease", holds, [], _plain(float(found.holds_lease)))
        left = "For how long the lease of this site lasts, whichever node has it; 0: none has."
        yield _gauge("node_lease_remaining_seconds", left, [], _plain(found.remaining_seconds))
        yield _gauge("sites", "Sites of this account in the database.", [], _plain(found.sites))
        alone = "Sites of this account that no node works on."
        yield _gauge("sites_without_node", alone, [], _plain(found.without_node))

    def _recordings(self) -> Iterator[Metric]:
        found = self._figures
        yield _gauge("items", "Recordings by state.", ["state"], _one(found.items))
        needs = "Recordings that need a person: failed ones that nobody has dismissed, and held ones."
        yield _gauge("items_needing_person", needs, ["state"], _one(found.needs_person))
        yield _gauge(
            "waiting_files", "Files in the drop folder that are no recordings yet.", [], _plain(found.waiting)
        )
        blocked = "Files in the drop folder that cannot be taken until a person acts."
        yield _gauge("blocked_files", blocked, [], _plain(found.blocked))
        stuck = "Recordings that cannot be moved, or whose receipts cannot be written."
        yield _gauge("stuck_items", stuck, [], _plain(found.stuck))
        oldest = (
            "Since when the oldest that was not sent yet has been waiting, in seconds since 1970; 0: none waits."
        )
        yield _gauge("oldest_waiting_timestamp_seconds", oldest, [], _plain(found.oldest_waiting_since))
        filed = HistogramMetricFamily(
            "watcher_arrival_to_filed_seconds", "From arrival to done/ or failed/.", labels=["outcome"]
        )
        for outcome, distribution in found.filed.items():
            filed.add_metric([outcome], _buckets(distribution), distribution.seconds)
        yield filed

    def _service(self) -> Iterator[Metric]:
        found = self._figures
        ended = "Submissions that have ended, by outcome; in parts each counts."
        yield _counter("submissions", ended, ["outcome"], _one(found.submissions))
        asked = "Requests to the service, by status; none: no answer came."
        yield _counter("http_requests", asked, ["endpoint", "code"], found.requests.items())
        yield _counter(
            "credits_spent", "Submissions that were charged, or may have been.", [], _plain(found.credits)
        )
        known = "Verdicts, when they became known or became another one."
        yield _counter("verdicts", known, ["classification"], _one(found.verdicts))
        unknown = "Verdicts that are not known: awaited, overdue, or an error for good."
        yield _gauge("verdicts_unknown", unknown, ["state"], _one(found.verdicts_unknown))
        uploads = HistogramMetricFamily("watcher_upload_duration_seconds", "How long submissions took.")
        uploads.add_metric([], _buckets(found.uploads), found.uploads.seconds)
        yield uploads

    def _work(self) -> Iterator[Metric]:
        found = self._figures
        yield _gauge("paused", "1 while submitting is paused for this reason.", ["reason"], _one(found.paused))
        yield _gauge("step_failing", "1 while this step fails as a whole.", ["step"], _one(found.failing))
        scan = "When the drop folder was last looked through, in seconds since 1970; 0: never."
        yield _gauge("last_scan_timestamp_seconds", scan, [], _plain(found.last_scan_at))
        success = "When this step last succeeded, in seconds since 1970; 0: not since the start."
        yield _gauge("last_success_timestamp_seconds", success, ["step"], _one(found.succeeded_at))


def _one(numbers: dict[str, float]) -> Labelled:
    return (((label,), number) for label, number in numbers.items())


def _plain(number: float) -> Labelled:
    return [((), number)]


def _gauge(name: str, said: str, labels: list[str], numbers: Labelled) -> Metric:
    family = GaugeMetricFamily(f"watcher_{name}", said, labels=labels)
    for values, number in numbers:
        family.add_metric(values, number)
    return family


def _counter(name: str, said: str, labels: list[str], numbers: Labelled) -> Metric:
    family = CounterMetricFamily(f"watcher_{name}", said, labels=labels)
    for values, number in numbers:
        family.add_metric(values, number)
    return family


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    return [("+Inf" if bound == inf else f"{bound:g}", number) for bound, number in distribution.up_to]
