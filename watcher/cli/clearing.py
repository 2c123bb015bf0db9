"""The commands that remove: prune, erase."""

import argparse
import os

from watcher import clearance
from watcher.accounts import name_person
from watcher.clearance import Erased
from watcher.cli.opening import open_context
from watcher.errors import Exit
from watcher.journey.retain.due import Stage
from watcher.outlet import say
from watcher.text import show_path
from watcher.views.erasure import Erasure, describe_places, plan_erasure

_ONE = {
    Stage.RECORDINGS: "recording",
    Stage.RECEIPTS: "receipt",
    Stage.ROWS: "row",
    Stage.WITHDRAWN: "row (withdrawn)",
}


def prune(options: argparse.Namespace) -> int:
    with open_context(options) as context:
        if context.config.retention.keeps_all:
            print("[retention] keeps everything for ever: there is nothing to remove.")
            return Exit.WELL
        if options.dry_run:
            counts: dict[str, int] = {}
            for stage, item in clearance.foresee_pruning(context):
                counts[stage] = counts.get(stage, 0) + 1
                print(f"would go: {_ONE[stage]} {item.id} {show_path(item.filed_as or item.path)}")
            kept, trouble = clearance.find_kept(context), None
            print(_in_words(counts, "would be removed"))
        else:
            found = clearance.prune(context)
            kept, trouble = found.kept, found.trouble
            if trouble is not None:
                say(f"watcher: prune: {trouble}")
            elif found.removed is None:
                print("The daemon is still at it: its log names what it removes.")
            else:
                print(_in_words(found.removed, "were removed"))
    for item in kept:
        how = item.altered.kind if item.altered else "changed"
        print(f"stays: {item.id} {show_path(item.filed_as or item.path)}: has {how} since it was filed")
    return Exit.INCOMPLETE if kept or trouble else Exit.WELL


def _in_words(counts: dict[str, int], verb: str) -> str:
    recordings, receipts = counts.get(Stage.RECORDINGS, 0), counts.get(Stage.RECEIPTS, 0)
    rows = counts.get(Stage.ROWS, 0) + counts.get(Stage.WITHDRAWN, 0)
    return f"{recordings:,} recordings, {receipts:,} receipts and {rows:,} rows {verb}."


def erase(options: argparse.Namespace) -> int:
    with open_context(options) as context:
        plan = plan_erasure(context, options.items, all_copies=options.all_copies)
        for buried in plan.erased:
            print(f"{buried.tombstone.id}: {buried}")
        if options.dry_run:
            for item in plan.items:
                print(f"would be erased: {item.id}: {describe_places(context, item)}")
            for receipt in plan.receipts:
                print(f"would be erased: the receipt of {receipt.folder}/{show_path(receipt.path)}")
            outcomes = []
        else:
            for receipt in plan.receipts:
                clearance.erase_receipt(context, receipt)
                print(f"{receipt.receipt['id']}: its receipt is erased; its tombstone stays")
            outcomes = clearance.erase(context, plan.items, name_person(os.environ)) if plan.items else []
    left = [outcome for outcome in outcomes if not _tell(outcome)]
    _tell_rest(plan)
    return Exit.INCOMPLETE if left else Exit.WELL


def _tell(outcome: Erased) -> bool:
    """Say what became of it. Return whether it is erased."""
    name = outcome.item.id
    if outcome.is_pending:
        why = f": {outcome.fault}" if outcome.fault else ""
        say(f"watcher: {name} is not erased yet, but will be, by the daemon or the next run{why}")
    elif outcome.fault is not None:
        say(f"watcher: {name} is not erased: {outcome.fault}")
    else:
        print(f"{name}: is erased; its tombstone stays")
        return True
    return False


def _tell_rest(plan: Erasure) -> None:
    """Say what has the same bytes and stays, and what is out of reach."""
    for item in plan.copies:
        path = show_path(item.filed_as or item.path)
        print(f"stays: {item.id} {path} ({item.state}) has the same bytes; --all-copies erases it as well")
    if plan.items or plan.receipts:
        for line in plan.out_of_reach():
            print(f"out of reach: {line}")
