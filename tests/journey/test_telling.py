"""Somebody is told: what opens and closes in the journey reaches a webhook, once."""

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.clock import FalseClock
from tests.places import REFUSED, Place, sandbox, speech
from tests.receivers import SECRETS, Webhook, webhook
from tests.store.recordings import item as an_item
from watcher.alarms import Alarm
from watcher.cli import main, opening
from watcher.clock import SystemClock
from watcher.domain import (
    Alteration,
    Altered,
    Dismissed,
    Fingerprint,
    Item,
    Pause,
    PauseKind,
    Review,
    ReviewWord,
    State,
)
from watcher.errors import Exit
from watcher.journey import decisions
from watcher.journey.site import Site
from watcher.notify import telling
from watcher.notify.addresses import read_addresses
from watcher.notify.telling import Teller
from watcher.sandbox import Sandbox
from watcher.store import Books, Store
from watcher.store.condition_rows import Messages

REAL = SystemClock()


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as running:
        yield running


class Told:
    """A site that tells a webhook, on the tests' clock."""

    def __init__(self, place: Place, store: Store, urls: Path) -> None:
        self.place, self.store = place, store
        self.site = Site.open(place.config, store, place.clock)
        self.teller = Teller(self.site, read_addresses(urls))

    @property
    def clock(self) -> FalseClock:
        assert isinstance(self.place.clock, FalseClock)
        return self.place.clock

    def after(self, seconds: float) -> None:
        """So much time has passed, and everything that was due then is sent."""
        self.clock.advance(seconds)
        self.teller.step()
        self.settle()

    def settle(self) -> None:
        """What is being sent has been."""
        give_up_at = REAL.monotonic() + 20
        while self.teller._is_sending():
            assert REAL.monotonic() < give_up_at
            REAL.wait(0.01, threading.Event())
            self.teller._collect()

    @contextmanager
    def writing(self) -> Iterator[Books]:
        with self.store.writing() as books:
            yield books

    def add(self, path: str, state: State = State.QUEUED) -> Item:
        """A recording arrived, and is in this state."""
        item = Item(
            id=path.encode().hex()[:16].ljust(16, "0"),
            path=path.encode(),
            state=State.QUEUED,
            size=1,
            arrived_at=self.clock.now(),
            fingerprint=Fingerprint(1, 2, 3, 4, 5),
        )
        with self.writing() as books:
            books.items.add(item)
            if state is State.HELD:
                books.items.change(item, State.HELD, self.clock.now())
            if state is State.FAILED:
                filing = self.to(books, item, State.FILING)
                self.to(books, filing, State.FAILED)
        return item

    def to(self, books: Books, item: Item, state: State) -> Item:
        books.items.change(item, state, self.clock.now())
        found = books.items.get(item.id)
        assert found is not None
        return found

    def decide(self, item: Item, what: Any, *more: Any) -> None:
        """A person decided this on the recording."""
        with self.writing() as books:
            found = books.items.get(item.id)
            assert found is not None
            what(books, [found], self.clock.now(), "anna", *more)

    def pause(self, kind: PauseKind = PauseKind.ACCOUNT) -> None:
        with self.writing() as books:
            books.pauses.set(Pause(kind, "no_credit", "There is no credit left.", self.clock.now(), None))

    def resume(self, kind: PauseKind = PauseKind.ACCOUNT) -> None:
        with self.writing() as books:
            books.pauses.end(kind, self.clock.now())


@contextmanager
def told(tmp_path: Path, hooks: list[str], url: str = "http://127.0.0.1:9", **settings: Any) -> Iterator[Told]:
    """A site whose database is made, and which has these addresses."""
    urls = tmp_path / "urls"
    urls.write_text("# who is told\n\n" + "\n".join(hooks) + "\n")
    urls.chmod(0o600)
    notify = {"urls_file": str(urls)} | settings.pop("notify", {})
    place = Place(tmp_path, url, notify=notify, **settings)
    with Store(place.config.store.url, place.config.books, place.config.notify.noted) as store:
        store.database.migrate()
        yield Told(place, store, urls)


@pytest.fixture
def site(tmp_path: Path, hook: Webhook) -> Iterator[Told]:
    with told(tmp_path, [hook.url]) as running:
        yield running


def test_opened_is_told_after_thirty_seconds_with_its_company(site: Told, hook: Webhook) -> None:
    """What opens within 30 seconds is one message: it counts it, names it, and says what to do next."""
    site.add("a.wav", State.FAILED)
    site.after(20)
    site.add("b.wav", State.HELD)
    assert hook.taken == []
    site.after(10)
    assert hook.titles == ["1 failed, 1 held"]
    text = hook.texts[0]
    assert "a.wav" in text
    assert "b.wav" in text
    assert "watcher retry ITEM" in text
    assert "watcher release ITEM" in text
    site.after(4000)
    assert len(hook.taken) == 1


def test_over_is_told_once(site: Told, hook: Webhook) -> None:
    """By a person's decision here; in the next message."""
    held = site.add("a.wav", State.HELD)
    site.after(30)
    site.decide(held, decisions.release)
    site.after(1000)
    site.after(1000)
    assert hook.titles == ["1 held", "over: 1 held"]


@pytest.mark.parametrize("deed", ["dismiss", "review", "retry"])
def test_a_persons_word_ends_what_failed(site: Told, hook: Webhook, deed: str) -> None:
    """Dismissed, reviewed or retried: nobody is told of it any more, but that it is over."""
    failed = site.add("a.wav", State.FAILED)
    site.after(30)
    match deed:
        case "dismiss":
            site.decide(failed, decisions.dismiss)
        case "review":
            with site.writing() as books:
                item = books.items.get(failed.id)
                assert item is not None
                decisions.review(books, item, ReviewWord.HUMAN, "", site.clock.now(), "anna")
        case _:
            with site.writing() as books:
                item = books.items.get(failed.id)
                assert item is not None
                decisions.retry(books, [item], site.clock.now(), "anna", fresh=False, spares_dismissed=False)
    site.after(1000)
    assert hook.titles == ["1 failed", "over: 1 failed"]
    site.after(90_000)
    assert len(hook.taken) == 2


def test_what_a_person_has_dealt_with_is_no_news_though_it_is_new_to_the_books(site: Told, hook: Webhook) -> None:
    """A recovery finds failed recordings in the receipts: who dismissed or judged one is not told of it again."""
    dealt_with: list[dict[str, Any]] = [
        {"dismissed": Dismissed(1.0, "anna")},
        {"review": Review(ReviewWord.HUMAN, "", "anna", 1.0)},
        {},
    ]
    with site.writing() as books:
        for number, more in enumerate(dealt_with):
            failed = an_item(number, state=State.FAILED, **more)
            books.items.add(failed, "from a receipt", serial=books.rebuilt.place_for(1.0))
    site.after(30)
    assert hook.titles == ["1 failed"]
    assert "2.wav" in hook.texts[0]


def test_ten_thousand_failures_are_one_message(site: Told, hook: Webhook) -> None:
    """With their number and the first names, however many there are."""
    with site.writing() as books:
        for n in range(10_000):
            books.conditions.open(Alarm.FAILED, f"{n:016x}", site.clock.now())
    site.after(31)
    assert hook.titles == ["10,000 failed"]
    assert hook.texts[0].count("\n- ") <= 11
    assert "and 9,990 more" in hook.texts[0]
    assert len(hook.texts[0]) < 3000
    site.after(5000)
    assert len(hook.taken) == 1


def test_digests_come_at_most_every_digest_minutes(site: Told, hook: Webhook) -> None:
    """What happens meanwhile is in the next one."""
    site.add("a.wav", State.FAILED)
    site.after(30)
    for n in range(14):
        site.add(f"more-{n}.wav", State.FAILED)
        site.after(60)
    assert hook.titles == ["1 failed"]
    site.after(60)
    assert hook.titles == ["1 failed", "14 failed"]


def test_what_is_open_is_listed_daily(site: Told, hook: Webhook) -> None:
    """Until it is over."""
    held = site.add("a.wav", State.HELD)
    site.after(30)
    for _ in range(3):
        site.after(86_400)
    assert hook.titles == ["1 held", *["still open: 1 held"] * 3]
    site.decide(held, decisions.release)
    site.after(86_400)
    site.after(86_400)
    assert hook.titles[4:] == ["over: 1 held"]


def test_flapping_is_one_message(site: Told, hook: Webhook) -> None:
    """The pause that comes and goes is unstable: then nothing, until it was calm for an hour."""
    for _ in range(30):
        site.pause()
        site.after(60)
        site.resume()
        site.after(60)
    assert [title for title in hook.titles if title.startswith("unstable")] == ["unstable: submitting is paused"]
    before = len(hook.taken)
    assert before <= 3
    site.after(3700)
    site.after(3700)
    assert hook.titles[before:] == ["over: submitting is paused"]


def test_a_pause_of_the_account_silences_overdue(site: Told, hook: Webhook) -> None:
    """While it lasts it is the reason; what is overdue after it is told then."""
    item = site.add("a.wav")
    site.pause()
    with site.writing() as books:
        books.conditions.open(Alarm.OVERDUE, item.id, site.clock.now())
    site.after(31)
    site.after(2000)
    assert hook.titles == ["submitting is paused"]
    site.resume()
    site.after(2000)
    assert hook.titles[1:] == ["1 without a verdict; over: submitting is paused"]


def test_the_services_pace_is_no_news(site: Told, hook: Webhook) -> None:
    """A throttle is how the service works; nobody is told of it."""
    site.pause(PauseKind.THROTTLE)
    site.after(100)
    assert hook.taken == []


def test_silence_counts_in_working_hours(tmp_path: Path, hook: Webhook) -> None:
    """Four working hours without an arrival, over a weekend; over with the next arrival."""
    notify = {"silence": "4h", "working_hours": "Mon-Fri 08:00-18:00"}
    with told(tmp_path, [hook.url], notify=notify, limits={"timezone": "Europe/Rome"}) as site:
        friday = 1_795_791_600.0  # 2026-11-27, 16:00 in Rome
        site.clock.advance(friday - 3600 - site.clock.now())
        site.after(200)
        site.clock.advance(friday - site.clock.now())
        site.add("a.wav")
        site.after(64 * 3600 - 60)  # until Monday, 07:59
        site.after(2 * 3600)
        assert hook.taken == []
        site.after(120)
        site.after(40)
        assert hook.titles == ["nothing arrives"]
        site.after(3600)
        site.add("b.wav")
        site.after(3600)
        site.after(40)
        assert hook.titles == ["nothing arrives", "over: nothing arrives"]


def test_names_are_hidden(tmp_path: Path, hook: Webhook) -> None:
    """`privacy.names = "hide"`: the message has ids instead, in what is said of a fault too."""
    with told(tmp_path, [hook.url], privacy={"names": "hide"}) as site:
        held = site.add("+39 055 1234.wav", State.HELD)
        site.after(30)
    assert held.id in hook.texts[0]
    assert "1234" not in hook.texts[0]


def test_what_is_erased_before_it_is_sent_is_not_named(site: Told, hook: Webhook) -> None:
    """The outbox has ids alone: a message that waits names nothing that is gone."""
    hook.status = 500
    held = site.add("a.wav", State.HELD)
    site.after(30)
    with site.writing() as books:
        assert books.removals.forget_item(held) or books.items.get(held.id)
        found = books.items.get(held.id)
        if found is not None:
            books.removals.forget_item(found)
        books.removals.forget_rest(held.id, [])
    hook.status = 200
    site.after(100)
    assert "a.wav" not in hook.texts[-1]
    assert "erased" in hook.texts[-1]


def test_each_address_gets_it_though_another_fails(tmp_path: Path, hook: Webhook) -> None:
    """The one that failed is tried again, with all that it missed as one message; the other gets nothing twice."""
    with webhook() as other, told(tmp_path, [hook.url, other.url]) as site:
        hook.status = 503
        site.add("a.wav", State.FAILED)
        site.after(30)
        site.add("b.wav", State.FAILED)
        site.after(1000)
        assert other.titles == ["1 failed", "1 failed"]
        hook.status, refused = 200, len(hook.taken)
        site.after(4000)
        assert len(other.taken) == 2
        assert len(hook.taken) == refused + 1
        assert "a.wav" in hook.texts[-1]
        assert "b.wav" in hook.texts[-1]
        site.after(4000)
        assert len(hook.taken) == refused + 1


def test_a_hanging_address_holds_nobody(tmp_path: Path, hook: Webhook) -> None:
    """The other address gets its messages; few threads hang; and what is taken late is not sent again."""
    with webhook() as other, told(tmp_path, [hook.url, other.url]) as site:
        hook.free.clear()
        site.add("a.wav", State.FAILED)
        site.clock.advance(30)
        site.teller.step()
        give_up_at = REAL.monotonic() + 20
        while not (hook.begun and site.teller._lines[1].attempts == []):
            assert REAL.monotonic() < give_up_at
            REAL.wait(0.01, threading.Event())
            site.teller._collect()
        assert other.titles == ["1 failed"]
        site.clock.advance(telling.DEADLINE_SECONDS + 1)
        site.teller.step()
        assert not site.teller._is_sending()
        for _ in range(10):
            site.clock.advance(4000)
            site.teller.step()
        assert sum(thread.name == "notify-address" for thread in threading.enumerate()) <= telling._MOST_HANGING
        hook.free.set()
        while any(line.attempts for line in site.teller._lines):
            assert REAL.monotonic() < give_up_at + 20
            REAL.wait(0.01, threading.Event())
            site.teller._collect()
        with site.writing() as books:
            assert books.messages.unsent() == []


def test_what_was_made_is_sent_by_the_next_process(tmp_path: Path, hook: Webhook) -> None:
    """Nothing is lost between making and sending, and what was sent but not noted comes under the same number."""
    with told(tmp_path, [hook.url]) as site:
        site.add("a.wav", State.FAILED)
        site.clock.advance(30)
        site.teller._make(30)
        assert hook.taken == []
        again = Teller(site.site, read_addresses(tmp_path / "urls"))
        again._send()  # it is killed before it notes anything
        give_up_at = REAL.monotonic() + 20
        while not hook.taken:
            assert REAL.monotonic() < give_up_at
            REAL.wait(0.01, threading.Event())
        site.after(0)
    assert len(hook.taken) == 2
    assert hook.texts[0] == hook.texts[1]
    assert "-1. What comes twice" in hook.texts[0]


def test_what_cannot_be_noted_is_not_sent_again_and_again(
    site: Told, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing can be written, such as on a full disk, a message that was sent is sent no second time."""

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as full:
        full.setattr(Messages, "note_sent", refuse)
        site.add("a.wav", State.FAILED)
        site.clock.advance(30)
        site.teller._try(site.teller.step)
        give_up_at = REAL.monotonic() + 20
        while site.teller._lines[0].attempts[0].reason is None:
            assert REAL.monotonic() < give_up_at
            REAL.wait(0.01, threading.Event())
        for _ in range(5):
            site.clock.advance(2)
            site.teller._try(site.teller.step)
    site.after(2)
    assert hook.titles == ["1 failed"]
    with site.writing() as books:
        assert books.messages.unsent() == []


def test_what_was_never_tried_is_not_given_up(site: Told, hook: Webhook, tmp_path: Path) -> None:
    """The machine was off for a week, or its clock was wrong: the message is tried before it is too old."""
    site.add("a.wav", State.FAILED)
    site.clock.advance(30)
    site.teller._make(30)
    site.teller = Teller(site.site, read_addresses(tmp_path / "urls"))
    hook.status = 503
    site.after(7 * 86_400)
    hook.status = 200
    assert "New: 1 failed" in hook.texts[0]
    site.after(10_000)
    with site.writing() as books:
        assert books.messages.unsent() == []


def test_an_address_is_told_once_though_its_line_stands_twice(tmp_path: Path) -> None:
    """Nor does the mark that some editors put before the text make the first line a wrong one."""
    urls = tmp_path / "urls"
    urls.write_text("json://127.0.0.1:9\n\njson://127.0.0.1:8\njson://127.0.0.1:9\n", encoding="utf-8-sig")
    assert [address.line for address in read_addresses(urls).addresses] == [1, 3]


def test_nothing_names_an_address(
    tmp_path: Path, hook: Webhook, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the log nor the books have any part of it, whether it works, refuses or is not there."""
    with told(tmp_path, [hook.url, f"json://u:{SECRETS[0]}@127.0.0.1:1/{SECRETS[1]}"]) as site:
        for status in (200, 403):
            hook.status = status
            site.add(f"{status}.wav", State.FAILED)
            site.after(2000)
        database = site.store.database.path
        site.store.database.checkpoint()
        said = caplog.text + "".join(capfd.readouterr())
        stored = b"".join(path.read_bytes() for path in database.parent.glob("watcher.db*"))
    assert "notify.failed" in said
    for secret in SECRETS:
        assert secret not in said
        assert secret.encode() not in stored


@contextmanager
def working(tmp_path: Path, hook: Webhook, **settings: Any) -> Iterator[tuple[Told, Sandbox]]:
    """A whole site and its service, on one clock."""
    limits: dict[str, Any] = {"writes": [], "reads": []}
    clock = FalseClock()
    with (
        sandbox(clock, writes=(), reads=()) as service,
        told(tmp_path, [hook.url], service.url, limits=limits, **settings) as site,
    ):
        site.place.clock = clock
        site.site = Site.open(site.place.config, site.store, clock)
        site.teller = Teller(site.site, read_addresses(tmp_path / "urls"))
        yield site, service


def test_an_artificial_recording_is_told(tmp_path: Path, hook: Webhook) -> None:
    """From the verdict itself, once, of the first of those with the same bytes; a review ends it."""
    with working(tmp_path, hook) as (site, _):
        for name in ("fake.wav", "copy.wav"):
            site.place.drop(name, speech("fake", note=b"sandbox:artificial"))
        site.place.drop("true.wav", speech("true", note=b"sandbox:human"))
        site.place.run_once(verdicts=True)
        site.after(31)
        assert hook.titles == ["1 artificial"]
        assert "wav" in hook.texts[0]
        assert "confidence 0." in hook.texts[0]
        with site.writing() as books:
            (found,) = [item for item in books.items.listed() if item.id[:6] in hook.texts[0]]
            decisions.review(books, found, ReviewWord.HUMAN, "", site.clock.now(), "anna")
        site.after(1000)
        assert hook.titles == ["1 artificial", "over: 1 artificial"]
        assert "anna says: human" in hook.texts[1]


def test_an_artificial_recording_is_told_though_one_of_its_bytes_was_erased(
    tmp_path: Path, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The erased one is named as its original, but of that nobody is told any more."""
    with working(tmp_path, hook) as (site, _):
        monkeypatch.setattr(opening, "SystemClock", lambda: site.clock)
        for name in ("fake.wav", "again.wav"):
            site.place.drop(name, speech("fake", note=b"sandbox:artificial"))
            site.place.run_once(verdicts=True)
            site.after(1000)
            assert hook.titles[-1] == "1 artificial"
            assert name in hook.texts[-1]
            if name == "fake.wav":
                assert main(["erase", name, "--config", str(site.place.config_path)]) == Exit.WELL
        assert hook.titles == ["1 artificial"] * 2


def test_an_artificial_recording_below_the_confidence_is_not_told(tmp_path: Path, hook: Webhook) -> None:
    """The confidence is asked for by `notify.artificial_confidence`."""
    with working(tmp_path, hook, notify={"artificial_confidence": 1.0}) as (site, _):
        site.place.drop("fake.wav", speech("fake", note=b"sandbox:artificial"))
        site.place.run_once(verdicts=True)
        assert site.place.verdict("fake.wav") is not None
        site.after(31)
    assert hook.taken == []


def test_a_refused_recording_is_told(tmp_path: Path, hook: Webhook) -> None:
    """From the journey itself: the service refuses it, it is filed as failed, and the message says why."""
    with working(tmp_path, hook) as (site, service):
        service.add_fault(**REFUSED)
        site.place.drop("bad.wav")
        site.place.run_once()
        site.after(31)
    assert hook.titles == ["1 failed"]
    assert "bad.wav" in hook.texts[0]


def test_a_grown_recording_is_told(tmp_path: Path, hook: Webhook) -> None:
    """Something was written to it after it was filed."""
    with working(tmp_path, hook) as (site, _):
        site.place.drop("a.wav")
        site.place.run_once()
        with (site.place.root / "done/a.wav").open("ab") as file:
            file.write(b"more")
        site.clock.advance(4000)
        site.place.run_once()
        item = site.place.item("a.wav")
        if item.altered is None:
            with site.writing() as books:
                books.filing.mark_altered(replace(item, altered=Altered(Alteration.GROWN, 9, site.clock.now())))
        site.after(31)
    assert hook.titles == ["1 altered after filing"]
    assert "it has grown" in hook.texts[0]
