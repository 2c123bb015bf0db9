"""/healthz and /metrics of a real daemon: what a monitor is told, and that it can count on it."""

import os
import re
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.places import REFUSED, Place
from tests.process.programs import Programs, mend, spoil, wait_until
from tests.web.asking import Reply, ask, port_of
from tests.web.conftest import Serve
from watcher.domain import PauseKind, State
from watcher.errors import Exit
from watcher.sandbox import Sandbox
from watcher.views.metrics import CLASSIFICATIONS, OTHER, OUTCOMES, STATUSES, STEPS


def healthz(port: int) -> Reply:
    return ask(port, "/healthz")


def healthy(watcher: Programs, place: Place) -> int:
    return watcher.call("status", "--healthy", "--config", place.config_path).process.returncode


def test_it_is_well_while_scans_and_steps_succeed(serve: Serve) -> None:
    place, port = serve()
    wait_until(lambda: healthz(port).status == 200, "it is well")
    assert healthz(port).text == "ok\n"
    place.drop("one.wav")
    wait_until(lambda: place.states().get("one.wav") is State.DONE, "it is done")
    assert healthz(port).status == 200


def test_one_recording_that_fails_keeps_nothing_from_being_well(serve: Serve, service: Sandbox) -> None:
    place, port = serve()
    service.add_fault(**REFUSED)
    place.drop("one.wav")
    wait_until(lambda: place.states().get("one.wav") is State.FAILED, "it failed")
    assert healthz(port).status == 200


def test_a_pause_is_said_in_words(serve: Serve, watcher: Programs, service: Sandbox) -> None:
    """A person's, and the account's."""
    place, port = serve()
    watcher.ask(place, "pause", "--reason", "moving house")
    reply = healthz(port)
    assert reply.status == 503
    assert "moving house" in reply.text
    watcher.ask(place, "resume")
    assert healthz(port).status == 200
    service.key = "another"
    place.drop("one.wav")
    wait_until(lambda: healthz(port).status == 503, "the pause is known")
    assert "key" in healthz(port).text


def test_a_step_that_fails_is_said_with_its_reason_and_passes(serve: Serve) -> None:
    place, port = serve()
    wait_until(lambda: healthz(port).status == 200, "it is well")
    spoil(place, "INSERT ON items")
    place.drop("one.wav")
    wait_until(lambda: healthz(port).status == 503, "the step fails")
    assert "admit fails: " in healthz(port).text
    figures = metrics(port)
    assert figures["watcher_step_failing", (("step", "admit"),)] == 1
    assert figures["watcher_healthy", ()] == 0
    mend(place)
    wait_until(lambda: healthz(port).status == 200, "it works again")
    assert metrics(port)["watcher_step_failing", (("step", "admit"),)] == 0


def test_a_drop_folder_that_is_away_is_said_from_the_start_on(serve: Serve, watcher: Programs) -> None:
    place, _ = serve()
    wait_until((place.root / "drop" / ".watcher").exists, "it is marked")
    watcher._started[-1].stop()
    (place.root / "drop").rename(place.root / "aside")
    port = port_of(watcher.start("run", "--config", place.config_path))
    wait_until(lambda: healthz(port).status == 503, "it is away")
    assert "drop" in healthz(port).text
    (place.root / "aside").rename(place.root / "drop")
    wait_until(lambda: healthz(port).status == 200, "it is back")


def test_a_database_that_is_gone_is_said_and_gives_no_figures(serve: Serve) -> None:
    """503 from both: no figure is better than a wrong one, and the alarm on `up` sees it."""
    place, port = serve()
    wait_until(lambda: healthz(port).status == 200, "it is well")
    (place.root / "watcher.db").rename(place.root / "aside.db")
    wait_until(lambda: healthz(port).status == 503, "it is gone")
    assert "the database is gone" in healthz(port).text
    assert ask(port, "/metrics").status == 503
    (place.root / "aside.db").rename(place.root / "watcher.db")
    wait_until(lambda: healthz(port).status == 200, "it is back")
    assert ask(port, "/metrics").status == 200


def test_it_judges_as_the_command_does(serve: Serve, watcher: Programs) -> None:
    place, port = serve()
    wait_until(lambda: healthz(port).status == 200, "it is well")
    assert healthy(watcher, place) == Exit.WELL
    watcher.ask(place, "pause")
    assert healthz(port).status == 503
    assert healthy(watcher, place) != Exit.WELL


# /metrics

Figure = tuple[str, tuple[tuple[str, str], ...]]


def parsed(text: str) -> dict[Figure, float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def metrics(port: int) -> dict[Figure, float]:
    reply = ask(port, "/metrics")
    assert reply.status == 200, reply.text
    assert reply.headers["content-type"].startswith("text/plain; version=")
    return parsed(reply.text)


def of(figures: dict[Figure, float], name: str, label: str) -> dict[str, float]:
    """The numbers of this metric by the one label."""
    return {dict(labels)[label]: n for (found, labels), n in figures.items() if found == name}


def test_every_label_has_its_number_from_the_first_scrape_on(serve: Serve) -> None:
    """As 0: what is absent cannot alert, and the first of a kind would be no increase."""
    _, port = serve()
    figures = metrics(port)
    assert of(figures, "watcher_items", "state") == dict.fromkeys(map(str, State), 0)
    assert of(figures, "watcher_submissions_total", "outcome") == dict.fromkeys([*OUTCOMES, OTHER], 0)
    assert of(figures, "watcher_verdicts_total", "classification") == dict.fromkeys([*CLASSIFICATIONS, OTHER], 0)
    assert of(figures, "watcher_paused", "reason") == dict.fromkeys(map(str, PauseKind), 0)
    assert of(figures, "watcher_step_failing", "step") == dict.fromkeys([*STEPS, OTHER], 0)
    assert of(figures, "watcher_last_success_timestamp_seconds", "step").keys() == set(STEPS)
    requests = {labels for name, labels in figures if name == "watcher_http_requests_total"}
    wanted = [(e, c) for e in ("submit", "verdict") for c in (*STATUSES, OTHER)]
    assert requests == {(("code", code), ("endpoint", endpoint)) for endpoint, code in wanted}
    assert figures["watcher_credits_spent_total", ()] == 0
    assert figures["watcher_upload_duration_seconds_count", ()] == 0
    assert of(figures, "watcher_arrival_to_filed_seconds_count", "outcome") == {"done": 0, "failed": 0}
    assert figures["watcher_oldest_waiting_timestamp_seconds", ()] == 0
    assert not any(name.endswith("_created") for name, _ in figures)


def settled(place: Place, port: int, **states: int) -> dict[Figure, float]:
    """The figures once so many are in these states, and every verdict is known."""

    def look() -> dict[Figure, float] | None:
        figures = metrics(port)
        found = of(figures, "watcher_items", "state")
        is_known = of(figures, "watcher_verdicts_unknown", "state")["awaited"] == 0
        return figures if is_known and all(found[name] == n for name, n in states.items()) else None

    found = wait_until(look, f"{states}", told=lambda: str(place.states()))
    assert found is not None
    return found


def counters(figures: dict[Figure, float]) -> dict[Figure, float]:
    """What may never fall."""
    return {at: n for at, n in figures.items() if re.search(r"_(total|count|sum|bucket)$", at[0])}


def test_what_is_counted_is_what_came_of_the_recordings(serve: Serve, service: Sandbox) -> None:
    place, port = serve()
    for name in ("one.wav", "two.wav", "three.wav"):
        place.drop(name)
    settled(place, port, done=3)
    service.add_fault(**REFUSED)
    place.drop("four.wav")
    figures = settled(place, port, done=3, failed=1)
    assert of(figures, "watcher_submissions_total", "outcome")["accepted"] == 3
    assert of(figures, "watcher_submissions_total", "outcome")["file"] == 1
    assert figures["watcher_credits_spent_total", ()] == service.charged == 3
    assert figures["watcher_http_requests_total", (("code", "400"), ("endpoint", "submit"))] == 1
    assert figures["watcher_http_requests_total", (("code", "200"), ("endpoint", "verdict"))] >= 1
    assert sum(of(figures, "watcher_verdicts_total", "classification").values()) == 3
    assert figures["watcher_upload_duration_seconds_count", ()] == 4
    assert figures["watcher_upload_duration_seconds_bucket", (("le", "+Inf"),)] == 4
    assert figures["watcher_upload_duration_seconds_sum", ()] > 0
    assert of(figures, "watcher_arrival_to_filed_seconds_count", "outcome") == {"done": 3, "failed": 1}
    assert of(figures, "watcher_items_needing_person", "state") == {"failed": 1, "held": 0}
    assert figures["watcher_last_scan_timestamp_seconds", ()] > 1_700_000_000
    assert all(at > 1_700_000_000 for at in of(figures, "watcher_last_success_timestamp_seconds", "step").values())
    assert figures["watcher_healthy", ()] == 1


def test_counters_survive_a_kill_and_what_is_removed(serve: Serve, watcher: Programs) -> None:
    """They are in the database, and the rows that they counted may go."""
    place, port = serve()
    for name in ("one.wav", "two.wav"):
        place.drop(name)
    before = counters(settled(place, port, done=2))
    watcher._started[-1].kill()
    port = port_of(watcher.daemon(place))
    after = counters(settled(place, port, done=2))
    assert all(after[at] >= number for at, number in before.items())

    ids = [item.id for item in place.items().values()]
    watcher.call("erase", *ids, "--config", place.config_path)
    wait_until(lambda: not place.items(), "they are erased", told=lambda: watcher._started[-1].err)
    figures = metrics(port)
    assert of(figures, "watcher_items", "state") == dict.fromkeys(map(str, State), 0)
    assert all(counters(figures)[at] >= number for at, number in after.items())


def test_no_name_is_a_label_or_is_said(serve: Serve) -> None:
    """Neither path, nor item, nor host: so `privacy` has nothing to hide there."""
    place, port = serve(privacy={"names": "hide"})
    place.drop("Rossi-Maria-+393331234567/call.wav")
    settled(place, port, done=1)
    text = ask(port, "/metrics").text
    names = {label for _, labels in parsed(text) for label, _ in labels}
    assert names <= {"version", "state", "outcome", "endpoint", "code", "classification", "le", "reason", "step"}
    for secret in ("Rossi", "393331234567", "call.wav", os.uname().nodename, "drop/"):
        assert secret not in text


def test_what_is_wrong_is_said_without_a_name_where_names_are_hidden(serve: Serve) -> None:
    place, port = serve(privacy={"names": "hide"})
    wait_until(lambda: healthz(port).status == 200, "it is well")
    (place.root / "drop").rename(place.root / "aside")
    wait_until(lambda: healthz(port).status == 503, "it is away")
    assert "drop" in healthz(port).text
    (place.root / "aside").rename(place.root / "drop")


def promtool(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None and not os.environ.get("CI"):
        pytest.skip("promtool is not installed: apt-get install prometheus")
    assert program is not None, "apt-get install prometheus"
    return subprocess.run([program, *words], input=given, capture_output=True, text=True, check=False)


def test_promtool_finds_nothing_to_say(serve: Serve) -> None:
    place, port = serve()
    place.drop("one.wav")
    settled(place, port, done=1)
    said = promtool("check", "metrics", given=ask(port, "/metrics").text)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
