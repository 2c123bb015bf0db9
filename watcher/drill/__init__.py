"""The drill: the real program, killed again and again on a site's own disks, and what anybody can see afterwards.

It works in hidden folders inside the site's, with a database of its own beside the site's and the sandbox as the
service: nothing is paid, nothing of the site is touched, and everything is removed at the end. Start at `course`.
"""

from watcher.drill.course import Outcome, carry_out
from watcher.drill.ground import Ground, laid_out

__all__ = ["Ground", "Outcome", "carry_out", "laid_out"]
