"""What a server says of itself, for whoever checks it: its version, its settings, our rights there, its clock."""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from watcher.store.dialects import SERVER_TIME

_FACTS = text(
    """
    SELECT current_setting('server_version') AS version,
           current_user AS "user",
           current_schema() AS "schema",
           has_schema_privilege(current_schema(), 'CREATE') AS may_create,
           current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('fsync') = 'on' AS syncs,
           current_setting('max_connections')::integer
               - current_setting('superuser_reserved_connections')::integer AS most,
           (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS most_of_user,
           (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS most_of_database,
           (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL) AS used,
           (SELECT string_agg(tablename, ', ' ORDER BY tablename) FROM pg_tables
             WHERE schemaname = current_schema() AND NOT pg_has_role(tableowner, 'USAGE')
               AND tablename = ANY(:tables)) AS not_owned
    """
)
_CLOCK = text(f"SELECT {SERVER_TIME}")


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """`not_owned`: our tables that somebody else owns. `spare`: connections that are still free."""

    version: str
    driver: str
    user: str
    schema: str
    may_create: bool
    not_owned: str
    synchronous_commit: str
    syncs: bool
    most_connections: int
    used_connections: int
    connections_a_node: int
    clock: float  # seconds since 1970

    @property
    def spare(self) -> int:
        return self.most_connections - self.used_connections


def examine(connection: Connection, tables: list[str], driver: str, a_node: int) -> ServerFacts:
    """Ask the server. The clock is asked for last, so that whoever compares it knows when that was."""
    row = connection.execute(_FACTS, {"tables": tables}).one()
    limits = [limit for limit in (row.most, row.most_of_user, row.most_of_database) if limit >= 0]
    return ServerFacts(
        version=row.version,
        driver=driver,
        user=row.user,
        schema=row.schema,
        may_create=row.may_create,
        not_owned=row.not_owned or "",
        synchronous_commit=row.synchronous_commit,
        syncs=row.syncs,
        most_connections=min(limits),
        used_connections=row.used,
        connections_a_node=a_node,
        clock=connection.execute(_CLOCK).scalar_one(),
    )
