"""What this process may do beyond its user's rights: capabilities(7)."""

import os

CAP_DAC_OVERRIDE = 1  # linux/capability.h: whatever a mode says
CAP_FOWNER = 3  # to do with a file of another what only its owner may
CAP_LEASE = 28  # to ask for a lease on it


def has_capability(number: int) -> bool:
    """Whether this process has it now; where the system does not tell, whether it is root."""
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            effective = next(line for line in file if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return os.geteuid() == 0
    return bool(int(effective.split()[1], 16) >> number & 1)
