"""SIGHUP: what can be read again beside the work is read again, and what cannot is named."""

from collections.abc import Iterator

from watcher import logs
from watcher.config import Config, load
from watcher.errors import ConfigError
from watcher.journey.keys import Keys
from watcher.journey.loaded_settings import note_loaded
from watcher.journey.site import Site
from watcher.journey.submit.windows import restore_hits
from watcher.text import JsonObject

_log = logs.get_logger(__name__)

_FIXED_LIMITS = ("in_flight",)  # so many threads were begun


def reload(site: Site, keys: Keys) -> None:
    """Key, limits and log are as the configuration and the key's place have them now.

    Of a configuration that is wrong nothing is taken, and the one before goes on. What only a start reads is
    named, key by key.
    """
    try:
        found = load(site.config.path)
    except ConfigError as error:
        hint = f"Everything goes on as it was read before. {error.hint}"
        _log.error("configuration.refused", reason=error.message, hint=hint)
        keys.renew()
        return
    before, merged = site.config, _merge(site.config, found)
    changed = list(_differences(before, merged))
    needs_restart = list(_differences(merged, found))
    if "limits.writes" in changed:
        restore_hits(site, merged.limits)  # before it holds: no upload may begin as if there had been none
    site.config = merged
    if "limits.writes" in changed:
        restore_hits(site, merged.limits)  # and what began meanwhile by the old ones, which may have counted none
    renewed = keys.renew()
    keys.protect()
    note_loaded(site, keys.key, needs_restart)
    told: JsonObject = {"path": str(found.path), "changed": changed, "needs_restart": needs_restart}
    _log.info("configuration.reread", **told, key=_tell_key(keys, renewed=renewed))
    if needs_restart:
        _log.warning(
            "configuration.needs_restart",
            keys=needs_restart,
            reason="these are read at a start alone, and stay as they were",
            hint="Restart the daemon (systemctl restart watcher).",
        )


def _merge(now: Config, found: Config) -> Config:
    """The configuration in force, with what can be changed beside the work as it was found."""
    limits = found.limits.model_copy(update={name: getattr(now.limits, name) for name in _FIXED_LIMITS})
    identifai = now.identifai.model_copy(update={"api_key_file": found.identifai.api_key_file})
    merged = now.model_copy(update={"limits": limits, "identifai": identifai, "log": found.log})
    return merged.read_from(found)


def _differences(one: Config, other: Config) -> Iterator[str]:
    """The keys that differ, each with its section."""
    for section in type(one).model_fields:
        here, there = getattr(one, section), getattr(other, section)
        for name in type(here).model_fields:
            if getattr(here, name) != getattr(there, name):
                yield f"{section}.{name}"


def _tell_key(keys: Keys, *, renewed: bool) -> str:
    source = keys.key.source
    if renewed:
        return f"another one is read from {source}"
    if keys.key.is_fixed:
        return f"{source} stays as it was at the start of the service: restart it for another key"
    return f"that in {source} is the same"
