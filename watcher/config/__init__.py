"""The configuration: one TOML file, read once, checked completely, immutable.

Names and defaults of the keys are public. Every problem is a `ConfigError`, raised here and never later; one error
lists all problems of a file, one per line.
"""

from watcher.config.loading import SYSTEM_CONFIG, find_config, load, with_store
from watcher.config.tables import Arrivals, AudioConfig, Config, Limits, RetentionConfig, Retry
from watcher.config.values import Window

__all__ = [
    "SYSTEM_CONFIG",
    "Arrivals",
    "AudioConfig",
    "Config",
    "Limits",
    "RetentionConfig",
    "Retry",
    "Window",
    "find_config",
    "load",
    "with_store",
]
