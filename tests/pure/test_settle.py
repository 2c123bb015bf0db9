"""When a file is whole: the settler, driven by everything writers do."""

from dataclasses import astuple, dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watcher.audio import Completeness
from watcher.domain import Fingerprint, Marks
from watcher.journey.arrive.candidate import Candidate
from watcher.journey.arrive.roll import Group
from watcher.journey.arrive.settle import Evidence, Judgement, Patience, Settler

SETTLE, UNCLOSED, INCOMPLETE, RELOOK = 2.0, 20.0, 60.0, 30.0
NOW = 1_700_000_000.0


def settler(*, proof: bool = True) -> Settler:
    return Settler(Patience(SETTLE, UNCLOSED, proof, INCOMPLETE, RELOOK))


def mark(size: int = 1000, *, inode: int = 7, mtime_ns: int = 0, ctime_ns: int = 0) -> Fingerprint:
    return Fingerprint(1, inode, size, mtime_ns, ctime_ns)


def packed(fingerprint: Fingerprint) -> Marks:
    marks = fingerprint.marks
    assert marks is not None
    return marks


def look(it: Settler, evidence: Evidence, monotonic: float) -> Judgement | None:
    """What the settler says at its next look, if it is due by then."""
    for candidate in it.due(monotonic, 10):
        return it.judge(candidate, evidence, NOW, monotonic)
    return None


PROVEN = Evidence(Completeness.PROVEN)
UNKNOWN = Evidence(Completeness.UNKNOWN)
SHORT = Evidence(Completeness.SHORT, missing_bytes=300)


def wait_for(it: Settler, evidence: Evidence, until: float) -> float | None:
    """When, by then, the settler is through with the file, looked at whenever it wants; null: not by then."""
    while (at := it.next_look()) is not None and at <= until:
        if look(it, evidence, at) is not Judgement.WAIT:
            return at
    return None


def code_of(it: Settler) -> str:
    candidate = it.get(b"a")
    assert candidate is not None
    return candidate.code


CLOSED = Evidence(is_open=False)


def test_without_proof_what_is_closed_is_taken_after_its_quiet_time() -> None:
    """Not before, and not much later, counted from the last change seen."""
    it = settler()
    it.see(b"a", mark(10), NOW, 100.0)
    assert look(it, CLOSED, 100.0) is Judgement.WAIT
    assert code_of(it) == "settling"
    it.see(b"a", mark(20), NOW, 101.5)
    assert wait_for(it, CLOSED, 200.0) == 103.5


@given(changed_at=st.floats(0, 1e6), settle_seconds=st.floats(0, 100))
def test_a_file_that_is_due_is_quiet(changed_at: float, settle_seconds: float) -> None:
    """However the sums round: at the moment for which a look was set, the quiet time is over."""
    it = Settler(Patience(settle_seconds, 0.0, False, INCOMPLETE, RELOOK))
    it.see(b"a", mark(), NOW, changed_at)
    look_at = it.next_look()
    assert look_at is not None
    assert look(it, UNKNOWN, look_at) is Judgement.READY


def test_proof_and_a_closed_writer_make_waiting_unnecessary() -> None:
    """Moved in, or closed after its last change, and whole by its own header: it is taken at once."""
    it = settler()
    it.see(b"a", mark(), NOW, 100.0, is_closed=True)
    assert look(it, PROVEN, 100.0) is Judgement.READY


def test_nobody_writing_any_more_is_as_good_as_a_close() -> None:
    """A read lease that was granted shows that no writer is left."""
    it = settler()
    it.see(b"a", mark(), NOW, 100.0)
    assert look(it, Evidence(Completeness.PROVEN, is_open=False), 100.0) is Judgement.READY


@pytest.mark.parametrize(
    ("evidence", "is_closed", "seconds"),
    [
        (UNKNOWN, True, SETTLE),
        (UNKNOWN, False, UNCLOSED),
        (PROVEN, False, UNCLOSED),
        (PROVEN, True, 0.0),
        (replace(PROVEN, heard_open=None), True, UNCLOSED),
        (replace(PROVEN, is_open=False, heard_open=True), False, 0.0),
        (replace(UNKNOWN, is_open=False, heard_open=True), False, SETTLE),
        (replace(PROVEN, is_announced=True), False, 0.0),
        (replace(UNKNOWN, is_announced=True), False, SETTLE),
        (replace(PROVEN, is_announced=True, heard_open=None), False, 0.0),
    ],
)
def test_where_nobody_can_tell_it_must_be_quiet_for_long(
    evidence: Evidence, is_closed: bool, seconds: float
) -> None:
    """Proven or not. Known to be closed it is taken at once with proof, without it when it has settled.

    Known is it by the last close or a move (as long as nobody may have opened it since), by a lease, by its owner.
    """
    it = settler()
    it.see(b"a", mark(), NOW, 100.0, is_closed=is_closed)
    assert wait_for(it, evidence, 1000.0) == 100.0 + seconds


def test_the_quiet_of_what_nobody_can_tell_is_never_the_shorter_one() -> None:
    it = Settler(Patience(30.0, 5.0, True, INCOMPLETE, RELOOK))
    it.see(b"a", mark(), NOW, 100.0)
    assert wait_for(it, PROVEN, 1000.0) == 130.0


def test_what_was_heard_to_be_opened_waits_for_its_close() -> None:
    """Whatever its quiet and its proof, and whatever its owner says; only a lease knows better."""
    it = settler()
    it.see(b"a", mark(), NOW, 100.0, is_open=True)
    assert code_of(it) == "open"
    assert wait_for(it, replace(PROVEN, heard_open=True, is_announced=True), 100_000.0) is None
    assert code_of(it) == "open"
    it.see(b"a", mark(), NOW, 100_000.0, is_closed=True)
    assert wait_for(it, PROVEN, 200_000.0) == 100_000.0


def test_a_change_after_the_close_makes_it_unknown_again() -> None:
    """Somebody has it open who was never heard to open it. Another owner or mode is no such change."""
    for changed, seconds in ((mark(2000, mtime_ns=1, ctime_ns=1), UNCLOSED), (mark(ctime_ns=1), 0.0)):
        it = settler()
        it.see(b"a", mark(), NOW, 100.0, is_closed=True)
        it.see(b"a", changed, NOW, 101.0)
        assert wait_for(it, PROVEN, 1000.0) == 101.0 + seconds


def test_when_events_were_lost_no_close_counts_any_more() -> None:
    """It may have been opened again since."""
    it = settler()
    it.see(b"a", mark(), NOW, 100.0, is_closed=True)
    it.doubt()
    assert wait_for(it, PROVEN, 1000.0) == 100.0 + UNCLOSED


def test_where_others_write_from_elsewhere_neither_events_nor_leases_count() -> None:
    """Its quiet is asked for, on our clock; a known writer is waited for, and its owner's word is believed."""
    share = replace(PROVEN, elsewhere="it is nfs4")
    for evidence in (share, replace(share, is_open=False)):
        it = settler()
        it.see(b"a", mark(), NOW, 100.0, is_closed=True)
        assert wait_for(it, evidence, 1000.0) == 100.0 + UNCLOSED
    for evidence in (replace(share, is_open=True), replace(share, heard_open=True, is_open=False)):
        it = settler()
        it.see(b"a", mark(), NOW, 100.0, is_closed=True)
        assert wait_for(it, evidence, 10_000.0) is None
    it = settler()
    it.see(b"a", mark(), NOW, 100.0)
    assert wait_for(it, replace(share, is_announced=True), 1000.0) == 100.0


# What its ctime says


def ctime(seconds_ago: float) -> Fingerprint:
    return mark(ctime_ns=int((NOW - seconds_ago) * 1e9))


@pytest.mark.parametrize(("seconds_ago", "waits"), [(1000.0, 0.0), (UNCLOSED - 5, 5.0), (0.0, UNCLOSED)])
def test_what_has_lain_there_is_taken_as_soon_as_it_was_quiet_for_long(seconds_ago: float, waits: float) -> None:
    """At a start too: where the kernel of this machine sets the ctime, it says since when."""
    it = settler()
    it.see(b"a", ctime(seconds_ago), NOW, 100.0, is_local=True)
    assert wait_for(it, UNKNOWN, 1000.0) == pytest.approx(100.0 + waits, abs=1e-3)


def test_a_ctime_says_nothing_where_others_set_it() -> None:
    it = settler()
    it.see(b"a", ctime(1000.0), NOW, 100.0, is_local=False)
    assert wait_for(it, UNKNOWN, 1000.0) == 100.0 + UNCLOSED


def test_a_ctime_that_lies_in_the_future_says_nothing() -> None:
    it = settler()
    it.see(b"a", ctime(-1000.0), NOW, 100.0, is_local=True)
    assert wait_for(it, UNKNOWN, 1000.0) == 100.0 + UNCLOSED


@pytest.mark.parametrize("set_by", [3600.0, -3600.0, 5.0])
def test_a_wall_clock_that_was_set_is_not_believed_beyond_that(set_by: float) -> None:
    """A file of a second ago looks as if it had lain there for an hour. Our own clock goes on as before."""
    it = settler()
    it.see(b"b", mark(inode=8), NOW, 100.0, is_local=True)
    it.see(b"a", mark(ctime_ns=int(NOW * 1e9)), NOW + set_by + 1.0, 101.0, is_local=True)
    it.forget(b"b")
    assert wait_for(it, UNKNOWN, 1000.0) == 101.0 + UNCLOSED
    it.see(b"a", mark(inode=9, ctime_ns=int((NOW + set_by) * 1e9)), NOW + set_by + 11.0, 111.0, is_local=True)
    taken = wait_for(it, UNKNOWN, 1000.0)
    assert taken is not None
    assert taken >= 101.0 + UNCLOSED - 1e-3


# Very much happens


def test_a_file_that_something_happens_to_without_end_does_not_keep_others_waiting() -> None:
    """Some looks at once, then one a second; and the plan of looks does not grow."""
    it = settler()
    looks = 0
    for step in range(10_000):
        now = 100.0 + step / 1000
        it.see(b"a", mark(1000 + step % 2, mtime_ns=step), NOW, now, is_closed=True)
        looks += look(it, SHORT, now) is not None
    assert looks < 30
    assert len(it.agenda) < 2000


@pytest.mark.parametrize(
    ("after", "is_shut", "verdict"),
    [
        (mark(mtime_ns=5), True, Judgement.READY),
        (mark(mtime_ns=5), False, Judgement.WAIT),
        (mark(2000, mtime_ns=5), True, Judgement.WAIT),
    ],
    ids=["nobody can have written", "somebody can", "its size was set by its path"],
)
def test_a_time_that_is_set_after_the_close_opens_nothing(
    after: Fingerprint, is_shut: bool, verdict: Judgement
) -> None:
    """Copiers close a file and give it the mtime of its original then, which makes no event."""
    it = settler()
    it.see(b"a", mark(), NOW, 100.0, is_closed=True)
    it.see(b"a", after, NOW, 100.1, is_shut=is_shut)
    assert look(it, PROVEN, 103.0) is verdict


@pytest.mark.parametrize("change", [0, 1], ids=["seen before the move was heard", "and changed by it"])
def test_a_close_that_was_another_file_s_is_taken_back(change: int) -> None:
    """A file that may be open is renamed onto one that was just closed: the close is heard first, and only the
    newcomer is seen.
    """
    it = settler()
    it.see(b"a", mark(), NOW, 100.0, is_closed=True)
    it.see(b"a", mark(ctime_ns=mark().ctime_ns + change), NOW, 100.1, is_closed=False)
    assert wait_for(it, UNKNOWN, 1000.0) == pytest.approx(100.0 + UNCLOSED, abs=0.2)


def test_a_look_that_knows_nothing_of_closes_takes_none_back() -> None:
    """A scan sees the file again, and so does whoever was only told that something happened."""
    it = settler()
    it.see(b"a", mark(), NOW, 100.0, is_closed=True)
    it.see(b"a", mark(), NOW, 100.1)
    assert wait_for(it, UNKNOWN, 1000.0) == 102.0


def test_proof_can_be_switched_off() -> None:
    """With `proof = false` every file waits out its quiet time."""
    it = settler(proof=False)
    it.see(b"a", mark(), NOW, 100.0, is_closed=True)
    assert look(it, PROVEN, 101.9) is None
    assert look(it, PROVEN, 102.0) is Judgement.READY


def test_a_file_that_is_open_for_writing_is_never_taken() -> None:
    """However long it is quiet: its writer pauses, and says so by not closing it."""
    it = settler()
    it.see(b"a", mark(), NOW, 100.0)
    for monotonic in (200.0, 300.0, 100_000.0):
        assert look(it, Evidence(Completeness.UNKNOWN, is_open=True), monotonic) is Judgement.WAIT
        assert code_of(it) == "open"
    assert look(it, UNKNOWN, 200_000.0) is Judgement.READY


def test_a_file_cut_short_by_its_own_header_waits_and_is_given_up_in_the_end() -> None:
    """Truncated, after the time for that; never submitted."""
    it = settler()
    it.see(b"a", mark(), NOW, 100.0, is_closed=True)
    assert look(it, SHORT, 100.0) is Judgement.WAIT
    candidate = it.get(b"a")
    assert candidate is not None
    assert "300 bytes" in candidate.reason
    assert look(it, SHORT, 130.0) is Judgement.WAIT
    assert look(it, SHORT, 100.0 + INCOMPLETE) is Judgement.EXPIRED


def test_a_header_without_sound_waits_and_is_given_up_in_the_end() -> None:
    """However whole it is, and whoever said so: only sound, or time, ends the wait."""
    it = settler()
    it.see(b"a", mark(44), NOW, 100.0, is_closed=True)
    silent = Evidence(Completeness.PROVEN, has_sound=False, is_open=False, is_announced=True)
    for monotonic in (100.0, 130.0, 99.9 + INCOMPLETE):
        assert look(it, silent, monotonic) in (Judgement.WAIT, None)
    candidate = it.get(b"a")
    assert candidate is not None
    assert candidate.code == "no_sound"
    assert [it.count_ending(99.9 + INCOMPLETE), it.count_ending(100.0 + INCOMPLETE)] == [0, 1]
    assert look(it, silent, 100.0 + INCOMPLETE) is Judgement.EXPIRED


def test_an_empty_file_waits_without_end() -> None:
    """A placeholder costs no attempt; it is reported, and taken when something is in it."""
    it = settler()
    it.see(b"a", mark(0), NOW, 100.0)
    for monotonic in (102.0, 10_000.0, 1_000_000.0):
        assert look(it, UNKNOWN, monotonic) is Judgement.WAIT
    candidate = it.get(b"a")
    assert candidate is not None
    assert candidate.code == "empty"


def test_another_file_of_the_same_name_begins_anew() -> None:
    """What was known of the first says nothing about the second, whatever times it carries."""
    it = settler()
    it.see(b"a", mark(inode=7), NOW, 100.0, is_closed=True)
    it.see(b"a", mark(inode=8, mtime_ns=1), NOW + 1, 101.5)
    assert wait_for(it, UNKNOWN, 1000.0) == 101.5 + UNCLOSED


def test_files_seen_in_one_look_are_taken_in_the_order_they_came() -> None:
    """A rename or a last write sets the ctime: of files found together the oldest is first."""
    it = settler()
    for name, ctime_ns in ((b"c", 3), (b"a", 1), (b"b", 2)):
        it.see(name, mark(inode=ctime_ns, ctime_ns=ctime_ns), NOW, 100.0)
    assert [candidate.path for candidate in it.due(100.0, 10)] == [b"a", b"b", b"c"]


@dataclass
class File:
    """A file as a writer leaves it behind, and the size that its header promises."""

    promised: int
    size: int = 0
    changes: int = 0
    is_open: bool = True

    def fingerprint(self) -> Fingerprint:
        return mark(self.size, mtime_ns=self.changes, ctime_ns=self.changes)

    def evidence(self, *, has_lengths: bool, has_leases: bool) -> Evidence:
        completeness = Completeness.UNKNOWN
        if has_lengths:
            completeness = Completeness.PROVEN if self.size == self.promised else Completeness.SHORT
        missing = self.promised - self.size if completeness is Completeness.SHORT else 0
        return Evidence(completeness, missing, is_open=self.is_open if has_leases else None)


PAUSES = st.floats(min_value=0.0, max_value=1.5 * UNCLOSED)


@settings(max_examples=300, deadline=None)
@given(
    writes=st.lists(st.tuples(st.integers(1, 500), PAUSES, st.booleans()), min_size=1, max_size=12),
    has_lengths=st.booleans(),
    has_leases=st.booleans(),
    hears_events=st.booleans(),
    proof=st.booleans(),
)
def test_nothing_unfinished_is_taken_and_everything_finished_is(  # noqa: C901 — a writer and a watcher in turn
    writes: list[tuple[int, float, bool]], has_lengths: bool, has_leases: bool, hears_events: bool, proof: bool
) -> None:
    """Whatever pauses a writer makes, and whether it closes the file in each of them or holds it open.

    Where the header has lengths, or leases can be had, nothing is taken before its writer had finished; elsewhere
    not before it was closed and settled, or was quiet for the longer time. Everything is taken within a bounded
    time after its last write.
    """
    it = settler(proof=proof)
    file = File(promised=sum(size for size, _, _ in writes))
    now, quiet_since = 100.0, 100.0

    def wait_until(end: float) -> Candidate | None:
        nonlocal now
        while now < end:
            now = min(end, now + 0.25)
            for candidate in it.due(now, 10):
                if candidate.fingerprint != file.fingerprint():
                    it.see(b"a", file.fingerprint(), NOW, now)
                    continue
                evidence = file.evidence(has_lengths=has_lengths, has_leases=has_leases)
                if it.judge(candidate, evidence, NOW, now) is not Judgement.WAIT:
                    return candidate
        return None

    for size, pause, closes in writes:
        file.size += size
        file.changes += 1
        file.is_open = not closes
        quiet_since = now
        if hears_events and closes:
            it.see(b"a", file.fingerprint(), NOW, now, is_closed=True)
        else:
            it.see(b"a", file.fingerprint(), NOW, now)
        taken = wait_until(now + pause)
        if taken is not None:
            is_finished = file.size == file.promised
            if has_lengths:
                assert is_finished
            if has_leases:
                assert closes
            if not is_finished:
                is_known = closes and (hears_events or has_leases)
                assert now >= quiet_since + (SETTLE if is_known else UNCLOSED)  # a difference may round otherwise
            return
    file.is_open = False
    assert file.size == file.promised
    assert wait_until(now + UNCLOSED + RELOOK + 1.0) is not None


def test_what_nobody_looked_into_goes_before_what_is_looked_at_again() -> None:
    """However many of these are due; and they have their turn beside however many newcomers."""
    it = settler()
    for number in range(1_000):
        path = f"old {number}".encode()
        it.see(path, mark(inode=number), NOW, 100.0, is_closed=True)
    while due := it.due(100.0, 256):
        for candidate in due:
            it.judge(candidate, SHORT, NOW, 100.0)
    for number in range(1_000):
        it.see(f"new {number}".encode(), mark(inode=5_000 + number), NOW, 200.0, is_closed=True)
    due = it.due(200.0, 256)
    assert sum(candidate.path.startswith(b"new") for candidate in due) == 256
    assert len(due) == 256 + 32


def test_what_is_left_is_looked_at_when_it_changes_and_not_before() -> None:
    it = settler()
    it.see(b"a", mark(10), NOW, 100.0)
    (candidate,) = it.due(100.0, 10)
    it.leave(candidate, "foreign", "no recording", NOW)
    assert it.next_look() is None
    assert it.roll.inodes() == {b"a": 0}  # so that a scan asks the disk for it
    it.see(b"a", mark(10), NOW, 200.0)
    assert it.next_look() is None
    it.see(b"a", mark(20), NOW, 300.0)
    assert it.next_look() == 302.0
    assert code_of(it) == "settling"


SCANS = st.lists(
    st.dictionaries(st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"]), st.integers(0, 3), max_size=5),
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(
    scans=SCANS,
    gone=st.sets(st.sampled_from([b"a", b"b"])),
    limit=st.integers(1, 4),
    flags=st.tuples(*[st.booleans()] * 2),
)
def test_what_a_scan_sees_at_once_is_what_it_would_be_one_by_one(
    scans: list[dict[bytes, int]], gone: set[bytes], limit: int, flags: tuple[bool, bool]
) -> None:
    """It is looked at in the same order, at the same times, and is known to have rested as long.

    Whatever is seen again or forgotten before its turn, and whenever the next scan sees others.
    """
    proof, is_local = flags
    both = at_once, singly = settler(proof=proof), settler(proof=proof)
    monotonic = 100.0
    for ages in scans:
        monotonic += 1.0
        now = NOW + monotonic
        marks = {path: mark(inode=ord(path), ctime_ns=int((now - age) * 1e9)) for path, age in ages.items()}
        new = {path: one for path, one in marks.items() if path not in singly}
        at_once.see_newcomers({path: packed(one) for path, one in new.items()}, now, monotonic, is_local=is_local)
        for it, seen in ((singly, new), *((it, marks.keys() - new.keys()) for it in both)):
            for path in sorted(seen):
                it.see(path, marks[path], now, monotonic, is_local=is_local)
        assert at_once.roll.inodes() == singly.roll.inodes()
        for path in gone:
            at_once.forget(path)
            singly.forget(path)
        assert len(at_once) == len(singly)
        assert at_once.count_ending(monotonic + SETTLE) == singly.count_ending(monotonic + SETTLE)
        assert at_once.next_look() == singly.next_look()
        first, second = (judged(it, limit, now, monotonic) for it in both)
        assert first == second
    assert judged(at_once, 100, NOW, monotonic + SETTLE) == judged(singly, 100, NOW, monotonic + SETTLE)


def judged(it: Settler, limit: int, now: float, monotonic: float) -> list[tuple[object, ...]]:
    """Everything about those that are due, which have to wait then."""
    due = it.due(monotonic, limit)
    found = [astuple(candidate) for candidate in due]
    for candidate in due:
        it.judge(candidate, UNKNOWN, now, monotonic)
    return found


def test_newcomers_are_published_as_they_will_be_and_asking_about_one_plans_its_look() -> None:
    it = settler()
    it.see_newcomers({b"%d" % n: packed(mark(n, inode=n)) for n in range(5)}, NOW, 100.0, is_local=True)
    assert [(one.path, one.fingerprint.size) for one in it.roll.first(Group.WAITING, 3)] == [
        (b"0", 0),
        (b"1", 1),
        (b"2", 2),
    ]
    assert it.roll.count(Group.WAITING) == len(it) == 5
    found = it.get(b"3")
    assert found is not None
    assert found is it.get(b"3")
    assert it.roll.count(Group.WAITING) == len(it) == 5
    assert sorted(one.path for one in it.due(100.0, 10)) == [b"0", b"1", b"2", b"3", b"4"]
    assert it.due(100.0, 10) == []


def test_however_many_wait_they_are_looked_at_no_more_often_than_some_a_second() -> None:
    """A hundred are looked at as often as one is; ten thousand, which are opened and read each time, are not."""
    for number, looks in ((100, 100 * 20), (10_000, 600 * 50)):
        it, seen = settler(), 0
        for n in range(number):
            it.see(b"%d" % n, mark(0, inode=n), NOW, 100.0, is_closed=True)
        for second in range(601):
            while due := it.due(100.0 + second, 1_000):
                seen += len(due)
                for candidate in due:
                    it.judge(candidate, UNKNOWN, NOW, 100.0 + second)
        assert seen == number + looks
