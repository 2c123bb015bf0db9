"""Pages that are left for people: the status file in the drop folder, and a report of each day."""

import os
from dataclasses import dataclass, field
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from watcher import logs
from watcher.errors import NameTaken
from watcher.folders import Folder
from watcher.folders.page_file import has_page, put_page
from watcher.journey.site import Site
from watcher.views.board import board_key, read_board
from watcher.views.context import CommandContext
from watcher.views.period import Period, day_starting, days_between
from watcher.views.report import read_report

_log = logs.get_logger(__name__)

STATUS_NAME = b"_STATUS.html"
MARK = b'<meta name="generator" content="identifai-watcher '
"""In the head of every page of ours."""

_REPORT_DAY = "report_day"  # the last day that has its report
_MOST_DAYS = 31  # of which reports are left after a long stop
_OLDEST_SECONDS = 3600.0  # then the page is written anew though nothing has changed: its time shows that we live


@dataclass
class StatusPage:
    """The status file. Each look writes it if something has changed."""

    site: Site
    _key: object = None
    _written_at: float = field(default=float("-inf"))

    def look(self) -> None:
        """Write the page if what it says may have changed. Raises NameTaken where another file has its name."""
        site = self.site
        if not site.config.folders.status:
            return
        from watcher.report.page import write_board  # noqa: PLC0415 — the templates' library takes a while

        context = CommandContext(site.config, site.store, site.clock)
        if not context.drop.answers:
            return
        key, now = board_key(context), site.clock.now()
        if key == self._key and now - self._written_at < _OLDEST_SECONDS:
            return
        data = b"".join(write_board(read_board(context), now))
        put_page(site.drop, STATUS_NAME, data, MARK)
        self._key, self._written_at = key, now


@dataclass
class DailyReport:
    """The report of each day, in a folder. Each look leaves what is due."""

    site: Site

    def look(self) -> None:
        """Leave a report of each day that is over and has none, once it is time. Nothing is ever replaced."""
        config, now = self.site.config, self.site.clock.now()
        if not config.report.folder:
            return
        period = Period(zone=ZoneInfo(config.limits.timezone) if config.limits.timezone else None)
        local = period.local(now)
        if f"{local:%H:%M}" < config.report.at:
            return
        yesterday = local.date() - timedelta(days=1)
        with self.site.store.reading() as books:
            last = books.site.get(_REPORT_DAY)
        first = yesterday if last is None else date.fromisoformat(last) + timedelta(days=1)
        for day in days_between(max(first, yesterday - timedelta(days=_MOST_DAYS - 1)), yesterday):
            self._leave(day, period)
            with self.site.store.writing() as books:
                books.site.put(_REPORT_DAY, day.isoformat())

    def _leave(self, day: date, period: Period) -> None:
        from watcher.report.page import write_report  # noqa: PLC0415 — as above

        folder = Folder(self.site.config.report.folder, "report")
        name = os.fsencode(f"{day}.html")
        if has_page(folder, name):
            return
        context = CommandContext(self.site.config, self.site.store, self.site.clock)
        until = day_starting(day + timedelta(days=1), period.zone)
        whole = Period(day_starting(day, period.zone), until, period.zone)
        try:
            put_page(folder, name, b"".join(write_report(read_report(context, whole))), MARK)
        except NameTaken:
            return  # somebody was faster, and nothing is replaced
        _log.info("report.left", day=day.isoformat())
