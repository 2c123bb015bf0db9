"""A sample of the scenarios on a share of each protocol; `make network` runs all of them on every kind."""

import pytest

from tests.network.__main__ import try_share
from tests.network.machine import check_machine
from tests.network.shares import IN_MACHINE
from tests.people import needs_root
from tests.process.servers import program

SAMPLE = "test_filed and drop or test_second_instance and other or test_check"
KINDS = ("nfs4.2", "smb", "sshfs")
PROGRAMS = {
    "nfs": ("exportfs", "rpc.nfsd", "rpc.mountd", "rpc.statd", "rpcbind", "mount.nfs"),
    "smb": ("smbd", "smbpasswd", "mount.cifs"),
    "sshfs": ("sshd", "sshfs"),
}


@pytest.mark.lengthy
@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_holds_on(kind: str) -> None:
    """Recordings of three sides are each filed once, a second instance is refused, `check` is right."""
    needs_root()
    for name in next(programs for begin, programs in PROGRAMS.items() if kind.startswith(begin)):
        program(name)
    if kind in IN_MACHINE:
        check_machine()
    outcomes, said = try_share(kind, only=SAMPLE, recordings=2, seconds=500)
    assert set(outcomes.values()) == {"passed"}, said
