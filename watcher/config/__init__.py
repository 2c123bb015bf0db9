"""What the operator asked for: one TOML file, read once, checked to the last key, never changed afterwards.

Names and defaults of the keys are public. Everything that is wrong is a `ConfigError`, raised here and nowhere
later; all problems of a file come in one error, a line each.
"""

from watcher.config.loading import SYSTEM_CONFIG, find_config, load
from watcher.config.tables import Arrivals, Config, Limits, Retry
from watcher.config.values import Window

__all__ = ["SYSTEM_CONFIG", "Arrivals", "Config", "Limits", "Retry", "Window", "find_config", "load"]
