"""Candidates that wait for long: the same whenever somebody asks, and small meanwhile."""

import tracemalloc
from dataclasses import astuple, replace
from math import ceil, inf

from hypothesis import given
from hypothesis import strategies as st

from watcher.audio import Completeness
from watcher.domain import Fingerprint
from watcher.journey.arrive.candidate import NEVER, Candidate
from watcher.journey.arrive.resting import Resting
from watcher.journey.arrive.settle import Evidence, Judgement, Patience, Settler

NOW = 1_700_000_000.0
PATIENCE = Patience(2.0, 20.0, True, 3600.0, 30.0)

TIMES = st.floats(allow_nan=False)
UNSIGNED = st.integers(0, 2**64 - 1)
SIGNED = st.integers(-(2**63), 2**63 - 1)
CANDIDATES = st.builds(
    Candidate,
    path=st.just(b"call.wav"),
    fingerprint=st.builds(Fingerprint, UNSIGNED, UNSIGNED, st.integers(0, 2**63 - 1), SIGNED, SIGNED),
    first_seen=TIMES,
    changed_at=TIMES,
    rests_since=TIMES,
    look_at=TIMES | st.sampled_from([inf, NEVER]),
    reason_since=TIMES,
    is_closed=st.booleans(),
    is_settled=st.booleans(),
    code=st.sampled_from(["settling", "cut_short", "open"]),
    reason=st.text(max_size=20),
    stumbles=st.integers(0, 99),
    is_fresh=st.booleans(),
    is_sure=st.booleans(),
    looked_at=TIMES | st.just(-inf),
    hurries=st.floats(0, 20),
)


@given(candidates=st.lists(CANDIDATES, max_size=5))
def test_whoever_rested_is_what_it_was(candidates: list[Candidate]) -> None:
    """Looks in a row are rounded up. Nothing of those that are awake again is kept."""
    resting = Resting()
    empty = vars(Resting())
    rests = [resting.pack(one) for one in candidates]
    for one, rest in zip(candidates, rests, strict=True):
        assert rest is not None
        assert astuple(resting.unpack(one.path, rest)) == astuple(replace(one, hurries=ceil(one.hurries)))
    for rest in rests:
        assert rest is not None
        resting.let_go(rest)
    assert vars(resting) | {"_next": 0} == empty


def wait_all(it: Settler, evidence: Evidence, monotonic: float) -> None:
    while due := it.due(monotonic, 256):
        for candidate in due:
            assert it.judge(candidate, evidence, NOW, monotonic) is Judgement.WAIT


def test_what_waits_for_long_takes_little_memory() -> None:
    """Its path, its entries and all that is known of it: 610 bytes as an object, and so for 100,000 of them."""
    number, it = 10_000, Settler(PATIENCE)
    short = Evidence(Completeness.SHORT, missing_bytes=300)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        there = (Fingerprint(2049, 10**6 + n, 10**5 + n, NS + n, NS + n) for n in range(number))
        found = {b"day-01/call-%06d.wav" % one.inode: one.marks or b"" for one in there}
        it.see_newcomers(found, NOW, 100.0, is_local=True)
        del found, there
        newcomers = tracemalloc.get_traced_memory()[0] - before
        wait_all(it, short, 100.0)
        waiting = tracemalloc.get_traced_memory()[0] - before
        it.see(b"day-01/call-1000007.wav", Fingerprint(2049, 1, 1, NS, NS), NOW, 101.0)  # one comes in its stead
    finally:
        tracemalloc.stop()
    assert len(it) == number
    assert newcomers / number < 350
    assert waiting / number < 350


NS = 1_764_190_000_000_000_000


def test_a_time_that_cannot_be_packed_is_waited_with_as_it_is() -> None:
    """Its owner may set any, such as one of the year 2400."""
    it, there = Settler(PATIENCE), Fingerprint(1, 7, 1000, 13_569_465_600 * 10**9, NS)
    it.see(b"a", there, NOW, 100.0)
    wait_all(it, Evidence(Completeness.SHORT), 100.0)
    assert it.roll.fingerprint(b"a") == there
    assert it.roll.inodes() == {b"a": 7}
    look_at = it.next_look()
    assert look_at is not None
    assert [one.fingerprint for one in it.due(look_at, 10)] == [there]


def test_lost_events_put_what_rests_in_doubt_too() -> None:
    """What was heard to be closed may be open again."""
    it = Settler(PATIENCE)
    it.see(b"a", Fingerprint(1, 7, 1000, NS, NS), NOW, 100.0, is_closed=True)
    wait_all(it, Evidence(Completeness.SHORT), 100.0)
    it.doubt()
    candidate = it.get(b"a")
    assert candidate is not None
    assert candidate.code == "cut_short"
    assert not candidate.is_closed
