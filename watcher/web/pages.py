"""The pages and the deeds that they offer, as routes. What is read, and what is decided, others know."""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from watcher.domain import Deed, Pause, PauseKind, ReviewWord, State
from watcher.errors import NoSuchItem, UsageError
from watcher.journey import decisions
from watcher.report.charts import HEIGHT, WIDTH
from watcher.store import LAST, Sought
from watcher.text import show_text
from watcher.views.context import CommandContext
from watcher.views.found import Asked, count_found, read_found, read_found_at_sites, read_place
from watcher.views.interruptions import ending, is_barred
from watcher.views.needs import read_needs
from watcher.views.overview import NEWEST, read_events, read_overview, read_wishes
from watcher.views.search import VERDICTS
from watcher.views.site_names import at_each, name_sites
from watcher.views.sites import read_sites
from watcher.views.story import Story, read_story
from watcher.web.person import name_caller
from watcher.web.rendering import render
from watcher.web.trends import PERIODS, read_trends
from watcher.wishes import STATE_FOR, Decided, ask, decide, review

_EVENTS = 100
_MOST_TOLD = 200
_LONGEST_REASON = 200
_LONGEST_NOTE = 500
_MOST_FIELDS = 20


@dataclass
class Pages:
    """The pages of one site."""

    open: Callable[[], CommandContext]  # the site as it is now
    _told: "OrderedDict[str, Decided]" = field(default_factory=OrderedDict)

    def routes(self) -> list[Route]:
        """Return all routes of the pages."""
        return [
            Route("/", self._overview),
            Route("/sites", self._sites),
            Route("/style.css", _style),
            Route("/needs", self._needs),
            Route("/recordings", self._recordings),
            Route("/recordings/{id}", self._story),
            Route("/charts", self._charts),
            Route("/events", self._events),
            Route("/all", self._all),
            Route("/all/{deed}", self._decide_all, methods=["POST"]),
            Route("/recordings/{id}/review", self._review, methods=["POST"]),
            Route("/recordings/{id}/{deed}", self._decide, methods=["POST"]),
            Route("/pause", self._pause, methods=["POST"]),
            Route("/resume", self._resume, methods=["POST"]),
        ]

    # What can be seen

    def _overview(self, request: Request) -> Response:
        context = self.open()
        return self._page(request, context, "overview.html", found=read_overview(context))

    def _sites(self, request: Request) -> Response:
        context = self.open()
        return self._page(request, context, "sites.html", found=read_sites(context))

    def _needs(self, request: Request) -> Response:
        context = self.open()
        found = read_needs(context)
        with context.store.reading() as books:
            wishes = read_wishes(books)
        return self._page(request, context, "needs.html", found=found, wishes=wishes)

    def _recordings(self, request: Request) -> Response:
        context, asked, before = self.open(), _asked(request), request.query_params.get("before", "")
        complaint, sought, place = "", Sought(), LAST
        try:
            sought, place = asked.to_sought(context), read_place(before)
        except UsageError as error:
            complaint = show_text(str(error.as_fault()))
        return self._page(
            request,
            context,
            "recordings.html",
            asked=asked,
            before=before,
            query=asked.address(),
            complaint=complaint,
            deeds=() if asked.all_sites else _deeds_for(asked),
            states=list(State),
            verdicts=VERDICTS,
            find=lambda: (read_found_at_sites if asked.all_sites else read_found)(context, asked, sought, place),
        )

    def _story(self, request: Request) -> Response:
        context = self.open()
        try:
            story = _read_story(context, request.path_params["id"])
        except NoSuchItem as error:
            return self._problem(request, context, 404, "There is no such recording", str(error.as_fault()))
        return self._page(request, context, "story.html", story=story)

    def _charts(self, request: Request) -> Response:
        context = self.open()
        chosen = _number(request.query_params.get("days", ""), PERIODS[0])
        chosen = chosen if chosen in PERIODS else PERIODS[0]
        return self._page(
            request,
            context,
            "charts.html",
            periods=PERIODS,
            chosen=chosen,
            draw_charts=lambda: read_trends(context, chosen),
            width=WIDTH,
            height=HEIGHT,
        )

    def _events(self, request: Request) -> Response:
        context = self.open()
        before = _number(request.query_params.get("before", ""), 0)
        with context.store.reading() as books:
            events = read_events(books, before or NEWEST, _EVENTS, hides=context.config.privacy.hides)
        return self._page(request, context, "events.html", events=events, before=before)

    def _all(self, request: Request) -> Response:
        context, asked = self.open(), _asked_for_all(request)
        try:
            sought = asked.to_sought(context)
        except UsageError as error:
            return self._problem(request, context, 400, "That cannot be searched for", str(error.as_fault()))
        deeds = _deeds_for(asked)
        if not deeds:
            said = "Only for recordings in one state, failed or held, can something be decided for all."
            return self._problem(request, context, 400, "Nothing can be decided for these", said)
        with context.store.reading() as books:
            seen = books.items.last_change()
        count = count_found(context, sought)
        return self._page(
            request, context, "all.html", asked=asked, query=asked.address(), count=count, seen=seen, deeds=deeds
        )

    # What can be decided

    async def _decide(self, request: Request) -> Response:
        form = await _read_form(request)
        item_id, deed = request.path_params["id"], request.path_params["deed"]
        if deed not in set(Deed):
            return Response("There is no such page.", 404, media_type="text/plain")
        back = "/needs" if form.get("back") == "needs" else f"/recordings/{item_id}"

        def act(context: CommandContext, person: str) -> Decided:
            return decide(context, item_id, Deed(deed), _number(form.get("seen", ""), 0), person)

        return await self._act(request, act, back)

    async def _review(self, request: Request) -> Response:
        form, item_id = await _read_form(request), request.path_params["id"]
        word, note = form.get("word", ""), show_text(form.get("note", "")).strip()[:_LONGEST_NOTE]

        def act(context: CommandContext, person: str) -> Decided:
            if word not in set(ReviewWord):
                return Decided(False, "Nothing was changed: choose what it is.")
            return review(context, item_id, ReviewWord(word), note, _number(form.get("seen", ""), 0), person)

        return await self._act(request, act, f"/recordings/{item_id}")

    async def _decide_all(self, request: Request) -> Response:
        form, asked, deed = await _read_form(request), _asked_for_all(request), request.path_params["deed"]

        def act(context: CommandContext, person: str) -> Decided:
            if deed not in _deeds_for(asked):
                return Decided(False, "Nothing was changed: this cannot be decided for all of these.")
            try:
                sought = asked.to_sought(context)
            except UsageError as error:
                return Decided(False, f"Nothing was changed: {show_text(str(error.as_fault()))}")
            number, seen = _number(form.get("number", ""), 0), _number(form.get("seen", ""), 0)
            return ask(context, Deed(deed), sought, number, seen, person)

        return await self._act(request, act, "/needs")

    async def _pause(self, request: Request) -> Response:
        form = await _read_form(request)
        reason = show_text(form.get("reason", "")).strip()[:_LONGEST_REASON]
        is_for_all = form.get("sites") == "all"

        def act(context: CommandContext, person: str) -> Decided:
            now, replaced = context.clock.now(), dict[str, Pause]()
            with context.store.writing() as books:
                if is_for_all:
                    sites = [site.id for site in name_sites(books, context.config)]
                    replaced = decisions.pause_each(books, sites, reason, now, person)
                elif there := books.pauses.get(PauseKind.PERSON):  # which the page did not show, or it had no form
                    return Decided(False, f"Nothing was changed. {_paused_meanwhile(there)}")
                else:
                    decisions.pause(books, reason, now, person)
            where = " at all sites" if is_for_all else ""
            said = f"Submitting is paused{where} until somebody resumes; everything else goes on."
            return Decided(True, show_text(" ".join([said, *decisions.replaced_in_words(replaced.values())])))

        return await self._act(request, act, "/sites" if is_for_all else "/")

    async def _resume(self, request: Request) -> Response:
        form = await _read_form(request)
        if form.get("sites") == "all":
            return await self._act(request, _resume_all_sites, "/sites")

        def act(context: CommandContext, person: str) -> Decided:
            now = context.clock.now()
            with context.store.writing() as books:
                unseen = [
                    one
                    for one in books.pauses.active()
                    if one.kind is PauseKind.PERSON and form.get("seen", str(one.since)) != str(one.since)
                ]
                if unseen:
                    return Decided(False, f"Nothing was changed. {_paused_meanwhile(unseen[0])}")
                ended, standing = decisions.resume(books, now, person)
            if not standing:
                return Decided(True, "Submitting goes on." if ended else "Submitting was not paused any more.")
            still = [
                f"Still paused: {one.reason} {ending(one, now, is_barred=is_barred(standing))}" for one in standing
            ]
            over = ["The person's pause is over."] if ended else []
            return Decided(True, show_text(" ".join([*over, *still])))

        return await self._act(request, act, "/")

    async def _act(self, request: Request, act: Callable[[CommandContext, str], Decided], back: str) -> Response:
        """Do it in a thread, as the database may take a while; then show the page again, with what came of it."""
        decided = await run_in_threadpool(lambda: act(self.open(), name_caller(request.scope)))
        token = secrets.token_urlsafe(12)
        self._told[token] = decided
        while len(self._told) > _MOST_TOLD:
            self._told.popitem(last=False)
        return RedirectResponse(f"{back}?{urlencode({'told': token})}", 303)

    # How it is shown

    def _problem(
        self, request: Request, context: CommandContext, status: int, heading: str, said: str
    ) -> Response:
        return self._page(request, context, "problem.html", status, heading=heading, said=show_text(said))

    def _page(
        self, request: Request, context: CommandContext, name: str, status: int = 200, **values: Any
    ) -> Response:
        config = context.config
        pieces = render(
            name,
            config.limits.timezone,
            here=request.url.path,
            told=self._told.get(request.query_params.get("told", "")),
            now=context.clock.now(),
            hides_names=config.privacy.hides,
            read_only=config.web.read_only,
            is_shared=context.store.database.is_shared,
            **values,
        )
        first = next(pieces)  # what goes wrong here is still an answer of its own
        return StreamingResponse(_with(first, pieces), status, media_type="text/html")


def _read_story(context: CommandContext, item_id: str) -> Story:
    """Return the story of the item, wherever on the sites of this account it is. Raises NoSuchItem."""
    try:
        return read_story(context, item_id)
    except NoSuchItem:
        for name, at in at_each(context):
            if not name.is_own:
                with suppress(NoSuchItem):
                    return read_story(at, item_id, name)
        raise


def _paused_meanwhile(pause: Pause) -> str:
    return show_text(f"Meanwhile {pause.by or 'somebody'} paused submitting: {pause.reason}")


def _resume_all_sites(context: CommandContext, person: str) -> Decided:
    now = context.clock.now()
    with context.store.writing() as books:
        names = {name.id: name for name in name_sites(books, context.config)}
        found = decisions.resume_each(books, names, now, person)
    still: dict[str, list[str]] = {}
    for site, (_, standing) in found.items():
        for pause in standing:
            still.setdefault(pause.reason, []).append(str(names[site]))
    if not still:
        return Decided(True, "Submitting goes on at all sites.")
    told = (f"Still paused at {', '.join(where)}: {reason}" for reason, where in still.items())
    return Decided(True, show_text(" ".join(["The persons' pauses are over.", *told])))


def _style(request: Request) -> Response:  # noqa: ARG001 — a route is given one
    """The look that pages and reports share."""
    return Response((files("watcher.report") / "templates" / "style.css").read_bytes(), media_type="text/css")


def _with(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


def _asked(request: Request) -> Asked:
    given = request.query_params

    def one(name: str) -> str:
        return given.get(name, "")[:500]

    return Asked(
        name=one("name").strip(),
        states=tuple(dict.fromkeys(filter(None, given.getlist("state")))),
        verdicts=tuple(dict.fromkeys(filter(None, given.getlist("verdict")))),
        folder=one("folder").strip(),
        since=one("since").strip(),
        until=one("until").strip(),
        to_see=bool(one("to_see")),
        all_sites=one("sites") == "all",
    )


def _asked_for_all(request: Request) -> Asked:
    """Return of which recordings all are to be decided on: what was dismissed is done with, and is not counted."""
    asked = _asked(request)
    return replace(asked, to_see=True) if asked.states == (State.FAILED,) else asked


def _deeds_for(asked: Asked) -> tuple[Deed, ...]:
    """Return what can be decided for all that are asked for: they must be in one state that leaves a choice."""
    return tuple(deed for deed, state in STATE_FOR.items() if asked.states == (state,))


async def _read_form(request: Request) -> dict[str, str]:
    """Return the fields of the form that was sent; the last of each name."""
    body = (await request.body()).decode("utf-8", "replace")
    try:
        fields = parse_qs(body, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise HTTPException(400, f"No form of ours has more than {_MOST_FIELDS} fields.") from None
    return {name: values[-1] for name, values in fields.items()}


def _number(text: str, default: int) -> int:
    return int(text) if text.isdecimal() and len(text) < 19 else default
