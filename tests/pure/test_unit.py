"""The unit that starts a configuration's daemon: found by its command, and what it grants."""

from pathlib import Path

import pytest

from tests.people import PROJECT
from watcher.cli.checking.unit import find_unit, quote_word


def test_our_units_are_found_by_the_configuration_that_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain one before the one of several sites; of that one the instance is known."""
    monkeypatch.setenv("SYSTEMD_UNIT_PATH", str(PROJECT / "systemd"))
    plain, north = find_unit(Path("/etc/watcher/config.toml")), find_unit(Path("/etc/watcher/north.toml"))
    assert plain is not None
    assert north is not None

    assert (plain.path.name, plain.instance, plain.user, plain.umask()) == (
        "watcher.service",
        "",
        "watcher",
        0o027,
    )
    assert plain.credential("identifai.key") == Path("/etc/watcher/identifai.key")
    assert plain.credential("another") is None
    assert plain.grants("CAP_LEASE")
    assert not plain.grants("CAP_FOWNER")
    assert (north.path.name, north.instance) == ("watcher@.service", "north")
    assert north.credential("identifai.key") == Path("/etc/watcher/north.key")
    assert find_unit(Path("/somewhere/config.toml")) is None


def test_a_drop_in_changes_what_the_unit_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As `systemctl edit` writes it: the last value counts, lists grow, an empty one begins anew."""
    monkeypatch.setenv("SYSTEMD_UNIT_PATH", f"{tmp_path / 'etc'}:{tmp_path / 'lib'}")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/calls.service").write_text(
        "[Unit]\nDescription=calls\n[Service]\nUser=one\nSupplementaryGroups=1 2\nAmbientCapabilities=CAP_LEASE\n"
        "ExecStart=/usr/bin/python3 -m watcher run\nEnvironment=A=b WATCHER_CONFIG=/srv/calls.toml\n"
    )
    (tmp_path / "etc/calls.service.d").mkdir(parents=True)
    (tmp_path / "etc/calls.service.d/override.conf").write_text(
        "[Service]\nUser=another\nSupplementaryGroups=3\nAmbientCapabilities=\n"
        "Environment='IDENTIFAI_API_KEY=a key'\n"
    )

    unit = find_unit(Path("/srv/calls.toml"))

    assert unit is not None
    assert (unit.user, unit.groups(), unit.grants("CAP_LEASE")) == ("another", (1, 2, 3), False)
    assert unit.environment()["IDENTIFAI_API_KEY"] == "a key"
    assert find_unit(Path("/etc/watcher/config.toml")) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[Service\nUser=x",
        "[Service]\nExecStart='unclosed run --config /c.toml watcher\n",
        "[Service]\nExecStart=/bin/watcher check --config /c.toml\n",
        "[Service]\nExecStart=/bin/another run --config /c.toml\n",
        "\0\xff",
    ],
)
def test_what_is_no_unit_of_ours_is_passed_over(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever lies there, a folder or a loop of links too."""
    monkeypatch.setenv("SYSTEMD_UNIT_PATH", f"{tmp_path}:/nowhere")
    (tmp_path / "a.service").write_text(text, encoding="latin-1")
    (tmp_path / "b.service").mkdir()
    (tmp_path / "c.service").symlink_to("c.service")
    assert find_unit(Path("/c.toml")) is None


@pytest.mark.parametrize(
    ("lines", "path", "barrier"),
    [
        ("ProtectSystem=strict", "/data/drop", "ProtectSystem=strict"),
        ("ProtectSystem=strict\nReadWritePaths=-/srv", "/data/drop", "ProtectSystem=strict"),
        ("ProtectSystem=strict\nReadWritePaths=-/data /srv", "/data/drop", ""),
        ("ProtectSystem=strict\nReadWritePaths=/data", "/database/drop", "ProtectSystem=strict"),
        ("ProtectSystem=strict\nBindPaths=/mnt/share:/data", "/data/drop", ""),
        ("ProtectSystem=strict\nStateDirectory=watcher/%i", "/var/lib/watcher/north", ""),
        (
            "ProtectSystem=strict\nReadWritePaths=/data\nReadOnlyPaths=/data/done",
            "/data/done/a",
            "ReadOnlyPaths=/data/done",
        ),
        ("InaccessiblePaths=-/data", "/data/drop", "InaccessiblePaths=/data"),
        ("ProtectSystem=full", "/etc/calls", "ProtectSystem=full"),
        ("ProtectSystem=full", "/data", ""),
        ("ProtectHome=yes", "/home/anna/calls", "ProtectHome=yes"),
        ("ProtectHome=tmpfs\nBindPaths=/home/anna/calls", "/home/anna/calls/drop", ""),
        ("ProtectHome=no", "/home/anna/calls", ""),
        ("PrivateTmp=yes", "/tmp/calls", "PrivateTmp=yes"),
        ("", "/data", ""),
        ('ProtectSystem=strict\nReadWritePaths=-"/data/my drop" /srv', "/data/my drop/in", ""),
        ("ProtectSystem=strict\nReadWritePaths=%S/calls /srv/100%%", "/var/lib/calls/drop", ""),
        ("ProtectSystem=strict\nReadWritePaths=%S/calls /srv/100%%", "/srv/100%/drop", ""),
        ("BindReadOnlyPaths=/mnt/share:/data", "/data/drop", "BindReadOnlyPaths=/data"),
        ("DynamicUser=yes", "/data/drop", "ProtectSystem=strict"),
        ("DynamicUser=yes", "/home/anna/calls", "ProtectHome=read-only"),
        ("DynamicUser=yes\nStateDirectory=watcher", "/var/lib/private/watcher", ""),
    ],
)
def test_a_unit_that_keeps_the_daemon_from_a_folder_is_seen(
    lines: str, path: str, barrier: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The setting is named; the nearest folder that one of them names decides."""
    monkeypatch.setenv("SYSTEMD_UNIT_PATH", str(tmp_path))
    command = "ExecStart=/opt/watcher/bin/watcher run --config /etc/watcher/%i.toml"
    (tmp_path / "watcher@.service").write_text(f"[Service]\n{command}\n{lines}\n")

    unit = find_unit(Path("/etc/watcher/north.toml"))

    assert unit is not None
    assert unit.name == "watcher@north"
    assert unit.barrier_to(Path(path)) == barrier


def test_links_in_what_a_unit_names_are_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As systemd follows them: the folders are looked for where they really are."""
    monkeypatch.setenv("SYSTEMD_UNIT_PATH", str(tmp_path))
    (tmp_path / "disk").mkdir()
    (tmp_path / "calls").symlink_to("disk")
    (tmp_path / "watcher.service").write_text(
        "[Service]\nExecStart=/opt/watcher/bin/watcher run --config /c.toml\nProtectSystem=strict\n"
        f"ReadWritePaths={tmp_path}/calls\n"
    )
    unit = find_unit(Path("/c.toml"))
    assert unit is not None
    assert unit.barrier_to(tmp_path / "disk" / "drop") == ""


@pytest.mark.parametrize("path", ["/data/my drop", "/data/100%", "/data/drop", "/data/back\\slash", "/data/%i"])
def test_a_path_in_an_advised_line_is_read_as_it_is(
    path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Blanks, specifiers and all."""
    monkeypatch.setenv("SYSTEMD_UNIT_PATH", str(tmp_path))
    (tmp_path / "watcher.service").write_text(
        "[Service]\nExecStart=/opt/watcher/bin/watcher run --config /c.toml\nProtectSystem=strict\n"
        f"ReadWritePaths={quote_word(path)}\n"
    )
    unit = find_unit(Path("/c.toml"))
    assert unit is not None
    assert unit.barrier_to(Path(path) / "in") == ""
