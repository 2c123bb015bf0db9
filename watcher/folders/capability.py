"""The capabilities of this process: capabilities(7)."""

import os

CAP_DAC_OVERRIDE = 1  # bypass permission checks; numbers from linux/capability.h
CAP_FOWNER = 3  # do to other users' files what only their owner may
CAP_LEASE = 28  # take leases on other users' files


def has_capability(number: int) -> bool:
    """Return whether this process has it now; where the system does not say, whether it is root."""
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            effective = next(line for line in file if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return os.geteuid() == 0
    return bool(int(effective.split()[1], 16) >> number & 1)
