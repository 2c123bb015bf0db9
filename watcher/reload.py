"""SIGHUP: reread what can change while the steps run, and name what cannot."""

from collections.abc import Iterator

from watcher import logs
from watcher.config import Config, load
from watcher.errors import ConfigError
from watcher.journey.keys import Keys
from watcher.journey.loaded_settings import note_loaded
from watcher.journey.site import Site
from watcher.journey.submit.windows import restore_rate_events
from watcher.text import JsonObject

_log = logs.get_logger(__name__)

_FIXED_LIMITS = ("in_flight",)  # the number of threads that were started


def reload(site: Site, keys: Keys) -> None:
    """Reread key, limits and log settings.

    A configuration that is wrong is refused as a whole, and the one before stays in force. Changed keys that are
    only read at a start are logged.
    """
    try:
        found = load(site.config.path)
    except ConfigError as error:
        hint = f"The configuration read before stays in force. {error.hint}"
        _log.error("configuration.refused", reason=error.message, hint=hint)
        keys.renew()
        return
    before, merged = site.config, _merge(site.config, found)
    changed = list(_differences(before, merged))
    needs_restart = list(_differences(merged, found))
    if "limits.writes" in changed:
        # Before it is in force: no upload may begin as if there had been none.
        restore_rate_events(site, merged.limits)
    site.config = merged
    if "limits.writes" in changed:
        # And those that began meanwhile under the old ones, which may have counted none.
        restore_rate_events(site, merged.limits)
    renewed = keys.renew()
    keys.protect()
    note_loaded(site, keys.key, needs_restart)
    told: JsonObject = {"path": str(found.path), "changed": changed, "needs_restart": needs_restart}
    _log.info("configuration.reread", **told, key=_tell_key(keys, renewed=renewed))
    if needs_restart:
        _log.warning(
            "configuration.needs_restart",
            keys=needs_restart,
            reason="these are read only at a start, and stay as they were",
            hint="Restart the daemon (systemctl restart watcher).",
        )


def _merge(now: Config, found: Config) -> Config:
    """Return the configuration in force, with what can change while the steps run taken from `found`."""
    limits = found.limits.model_copy(update={name: getattr(now.limits, name) for name in _FIXED_LIMITS})
    identifai = now.identifai.model_copy(update={"api_key_file": found.identifai.api_key_file})
    merged = now.model_copy(update={"limits": limits, "identifai": identifai, "log": found.log})
    return merged.read_from(found)


def _differences(one: Config, other: Config) -> Iterator[str]:
    """Yield the keys that differ, each with its section."""
    for section in type(one).model_fields:
        here, there = getattr(one, section), getattr(other, section)
        for name in type(here).model_fields:
            if getattr(here, name) != getattr(there, name):
                yield f"{section}.{name}"


def _tell_key(keys: Keys, *, renewed: bool) -> str:
    source = keys.key.source
    if renewed:
        return f"another one was read from {source}"
    if keys.key.is_fixed:
        return f"{source} is fixed while the service runs: restart it to change the key"
    return f"the one in {source} is the same"
