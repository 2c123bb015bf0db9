"""`nodes`: which nodes work on which sites."""

import argparse

from watcher.cli.columns import Column, lay_out
from watcher.cli.opening import open_context, print_json
from watcher.errors import Exit
from watcher.text import local_time, show_text
from watcher.views.nodes import SiteLease, alone_as_json, describe_alone, list_leases

_COLUMNS = (
    Column("site"),
    Column("node"),
    Column("host", rank=2),
    Column("pid", rank=1, is_number=True),
    Column("since"),
    Column("until"),
    Column("epoch", rank=3, is_number=True),
    Column("works"),
    Column("folder", is_cut=True, rank=4),
)


def nodes(options: argparse.Namespace) -> int:
    with open_context(options) as context:
        if not context.store.database.is_shared:
            if not options.json:
                print(describe_alone(context))
            elif (alone := alone_as_json(context)) is not None:
                print_json(alone)
            return Exit.WELL
        found = list_leases(context)
    if options.json:
        for one in found:
            print_json(one.as_json())
        return Exit.WELL
    for lines in lay_out(_COLUMNS, [[_cells(one) for one in found]]):
        print("\n".join(lines))
    return Exit.WELL


def _cells(one: SiteLease) -> list[str]:
    lease = one.lease
    works = "no" if lease.is_over else "yes, this one" if one.is_this else "yes"
    names = [show_text(name) for name in (lease.site, lease.node, lease.host)]
    times = [local_time(lease.since), local_time(lease.until)]
    return [*names, str(lease.pid), *times, str(lease.epoch), works, show_text(lease.folder)]
