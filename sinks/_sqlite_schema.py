"""The tables of history.db and every statement run on them. Text only: nothing here opens a file.

Statements are constants with bound parameters; none is ever put together at run time (fault F138). The
schema is a public promise, described in docs/history.md: a change of it raises `USER_VERSION` and
brings a migration.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["APPLICATION_ID", "MINUTE_MS", "PRAGMAS", "USER_VERSION", "statements_for"]

APPLICATION_ID: Final = 0x4C574831
"""`LWH1`, at offset 68 of the file's header: this is a history of Longwatch and nobody else's."""
USER_VERSION: Final = 5
"""2 since transitions have severities, 3 since they are marked as flapping, 4 since series have an interval, 5 since
transitions have facts."""
VERSION_WITH_INTERVALS: Final = 4
MINUTE_MS: Final = 60_000

# WAL lets people read while we write. Automatic checkpoints are off because they swallow I/O errors
# (M5): checkpoints are explicit and their result is looked at. `journal_size_limit` shrinks a WAL that a
# long reader made large. The temporary store is memory, so that a full disk does not stop a DELETE.
PRAGMAS: Final = (
    "PRAGMA busy_timeout = 5000",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA journal_size_limit = 16777216",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA trusted_schema = OFF",
)
SHORT_BUSY_TIMEOUT: Final = "PRAGMA busy_timeout = 200"
SET_WAL: Final = "PRAGMA journal_mode = WAL"
GET_APPLICATION_ID: Final = "PRAGMA application_id"
GET_USER_VERSION: Final = "PRAGMA user_version"
COUNT_TABLES: Final = "SELECT count(*) FROM sqlite_master"
QUICK_CHECK: Final = "PRAGMA quick_check(1)"
CHECKPOINT: Final = "PRAGMA wal_checkpoint(PASSIVE)"
CHECKPOINT_TRUNCATE: Final = "PRAGMA wal_checkpoint(TRUNCATE)"
GET_PAGES_USED: Final = """
SELECT (page_count - freelist_count) * page_size
FROM pragma_page_count, pragma_freelist_count, pragma_page_size"""
GET_PAGE_SIZE: Final = "PRAGMA page_size"

_TRANSITIONS: Final = """
    CREATE TABLE transitions (
        id              INTEGER PRIMARY KEY,
        time_ms         INTEGER NOT NULL,
        rule            TEXT NOT NULL,
        kind            TEXT NOT NULL,
        before          TEXT NOT NULL,
        after           TEXT NOT NULL,
        severity_before TEXT NOT NULL,
        severity        TEXT NOT NULL,
        reason          TEXT NOT NULL,
        value           REAL,
        active_since_ms INTEGER NOT NULL,
        fired_ms        INTEGER NOT NULL,
        fingerprint     TEXT NOT NULL,
        labels          TEXT NOT NULL,
        annotations     TEXT NOT NULL,
        flapping        INTEGER NOT NULL DEFAULT 0,
        peak            REAL,
        mean            REAL,
        samples         INTEGER,
        true_ms         INTEGER,
        unknown_ms      INTEGER,
        UNIQUE (time_ms, rule, labels, before, after, severity_before, severity)
    ) STRICT"""
_FACTS: Final = ("peak REAL", "mean REAL", "samples INTEGER", "true_ms INTEGER", "unknown_ms INTEGER")
_TRANSITIONS_2: Final = re.sub(r" +(flapping|peak|mean|samples|true_ms|unknown_ms) .*\n", "", _TRANSITIONS)
_V_TRANSITIONS: Final = """
    CREATE VIEW v_transitions AS
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', time_ms / 1000.0, 'unixepoch') AS time,
           rule, kind, coalesce(nullif(severity, ''), json_extract(labels, '$.severity')) AS severity, reason, value,
           strftime('%Y-%m-%dT%H:%M:%fZ', active_since_ms / 1000.0, 'unixepoch') AS active_since,
           labels, annotations, fingerprint, time_ms, active_since_ms, fired_ms, flapping,
           peak, mean, samples, true_ms, unknown_ms
    FROM transitions"""
_V_TRANSITIONS_3: Final = _V_TRANSITIONS.replace(",\n           peak, mean, samples, true_ms, unknown_ms", "")

SCHEMA: Final = (
    "PRAGMA application_id = 1280788529",  # APPLICATION_ID; a PRAGMA takes no parameters
    "PRAGMA user_version = 5",  # USER_VERSION
    """
    CREATE TABLE meta (
        key   TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """
    CREATE TABLE series (
        id          INTEGER PRIMARY KEY,
        metric      TEXT NOT NULL,
        labels      TEXT NOT NULL,
        text        TEXT NOT NULL UNIQUE,
        seen_ms     INTEGER NOT NULL,
        interval_ms INTEGER
    ) STRICT""",
    "CREATE INDEX series_by_metric ON series (metric)",
    """
    CREATE TABLE samples (
        time_ms   INTEGER NOT NULL,
        series_id INTEGER NOT NULL,
        value     REAL,
        special   TEXT,
        PRIMARY KEY (time_ms, series_id)
    ) STRICT, WITHOUT ROWID""",
    """
    CREATE TABLE rollups (
        minute_ms INTEGER NOT NULL,
        series_id INTEGER NOT NULL,
        count     INTEGER NOT NULL,
        sum       REAL,
        min       REAL NOT NULL,
        max       REAL NOT NULL,
        last      REAL NOT NULL,
        last_ms   INTEGER NOT NULL,
        PRIMARY KEY (minute_ms, series_id)
    ) STRICT, WITHOUT ROWID""",
    # A trigger sees exactly the rows that were inserted: a sample offered twice counts once, and a minute
    # that is split over many writes adds up. The inner remainder keeps times before 1970 in their minute.
    """
    CREATE TRIGGER samples_roll_up AFTER INSERT ON samples WHEN new.value IS NOT NULL
    BEGIN
        INSERT INTO rollups VALUES (
            new.time_ms - (new.time_ms % 60000 + 60000) % 60000,
            new.series_id, 1, new.value, new.value, new.value, new.value, new.time_ms)
        ON CONFLICT (minute_ms, series_id) DO UPDATE SET
            count   = count + 1,
            sum     = sum + excluded.sum,
            min     = min(min, excluded.min),
            max     = max(max, excluded.max),
            last    = CASE WHEN excluded.last_ms >= last_ms THEN excluded.last ELSE last END,
            last_ms = max(last_ms, excluded.last_ms);
    END""",
    _TRANSITIONS,
    """
    CREATE TABLE health (
        id        INTEGER PRIMARY KEY,
        time_ms   INTEGER NOT NULL,
        component TEXT NOT NULL,
        status    TEXT NOT NULL,
        reason    TEXT NOT NULL,
        message   TEXT NOT NULL,
        count     INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX health_by_time ON health (time_ms)",
    """
    CREATE TABLE events (
        id      INTEGER PRIMARY KEY,
        time_ms INTEGER NOT NULL,
        type    TEXT NOT NULL,
        body    TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX events_by_time ON events (time_ms)",
    """
    CREATE TABLE runs (
        run_id     INTEGER PRIMARY KEY AUTOINCREMENT,
        name       TEXT NOT NULL,
        started_ms INTEGER NOT NULL,
        ended_ms   INTEGER NOT NULL DEFAULT 0,
        outcome    TEXT NOT NULL DEFAULT ''
    ) STRICT""",
    """
    CREATE VIEW v_samples AS
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', time_ms / 1000.0, 'unixepoch') AS time,
           metric, labels, coalesce(special, value) AS value, time_ms
    FROM samples JOIN series ON series.id = samples.series_id""",
    """
    CREATE VIEW v_rollups AS
    SELECT strftime('%Y-%m-%dT%H:%MZ', minute_ms / 1000, 'unixepoch') AS minute,
           metric, labels, count, sum / count AS mean, min, max, last, minute_ms
    FROM rollups JOIN series ON series.id = rollups.series_id""",
    _V_TRANSITIONS,
    """
    CREATE VIEW v_health AS
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', time_ms / 1000.0, 'unixepoch') AS time,
           component, status, reason, message, count, time_ms
    FROM health""",
    """
    CREATE VIEW v_events AS
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', time_ms / 1000.0, 'unixepoch') AS time, type, body, time_ms
    FROM events""",
    """
    CREATE VIEW v_runs AS
    SELECT run_id, name,
           strftime('%Y-%m-%dT%H:%M:%fZ', started_ms / 1000.0, 'unixepoch') AS started,
           iif(ended_ms > 0, strftime('%Y-%m-%dT%H:%M:%fZ', ended_ms / 1000.0, 'unixepoch'), NULL) AS ended,
           outcome, started_ms, ended_ms
    FROM runs""",
    # The sentinel: a file that lost its pages but kept its header is not ours any more (M14).
    "INSERT INTO meta VALUES ('sentinel', 'longwatch history'), ('raw_from_ms', '-9223372036854775808')",
)

_MIGRATIONS: Final = {
    1: (
        "DROP VIEW v_transitions",
        "ALTER TABLE transitions RENAME TO transitions_1",
        _TRANSITIONS_2,
        """
        INSERT INTO transitions
        SELECT id, time_ms, rule, kind, before, after, '', '', reason, value, active_since_ms, fired_ms, fingerprint,
               labels, annotations
        FROM transitions_1""",
        "DROP TABLE transitions_1",
        "PRAGMA user_version = 2",
    ),
    2: (
        "DROP VIEW IF EXISTS v_transitions",
        "ALTER TABLE transitions ADD COLUMN flapping INTEGER NOT NULL DEFAULT 0",
        _V_TRANSITIONS_3,
        "PRAGMA user_version = 3",
    ),
    3: ("ALTER TABLE series ADD COLUMN interval_ms INTEGER", "PRAGMA user_version = 4"),
    4: (
        "DROP VIEW IF EXISTS v_transitions",
        *(f"ALTER TABLE transitions ADD COLUMN {column}" for column in _FACTS),
        _V_TRANSITIONS,
        "PRAGMA user_version = 5",
    ),
}
"""By the version of a file, what makes it one of the next version."""


def statements_for(version: int | None) -> list[str]:
    """What makes a file one of `USER_VERSION`, to be run in one transaction; None is a file without tables."""
    if version is None:
        return list(SCHEMA)
    return [statement for older in range(version, USER_VERSION) for statement in _MIGRATIONS.get(older, ())]


GET_META: Final = "SELECT value FROM meta WHERE key = ?"
SET_META: Final = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"

# --- writing ---------------------------------------------------------------------------------------

ADD_SERIES: Final = """
INSERT INTO series (metric, labels, text, seen_ms, interval_ms) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (text) DO UPDATE SET seen_ms = max(seen_ms, excluded.seen_ms), interval_ms = excluded.interval_ms"""
FIND_SERIES: Final = "SELECT text, id FROM series WHERE text IN (SELECT value FROM json_each(?))"
ADD_SAMPLE: Final = "INSERT INTO samples VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
ADD_TRANSITION: Final = """
INSERT INTO transitions
    (time_ms, rule, kind, before, after, severity_before, severity, reason, value, active_since_ms, fired_ms,
     fingerprint, labels, annotations, flapping, peak, mean, samples, true_ms, unknown_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
ADD_HEALTH: Final = "INSERT INTO health (time_ms, component, status, reason, message, count) VALUES (?, ?, ?, ?, ?, ?)"
ADD_EVENT: Final = "INSERT INTO events (time_ms, type, body) VALUES (?, ?, ?)"
FIND_RUN: Final = "SELECT run_id FROM runs WHERE name = ? AND started_ms = ? AND ended_ms = 0"
ADD_RUN: Final = "INSERT INTO runs (name, started_ms) VALUES (?, ?)"
END_RUN: Final = "UPDATE runs SET ended_ms = ?, outcome = ? WHERE name = ? AND started_ms = ? AND ended_ms = 0"

# --- retention: each takes (before_ms, rows at most), oldest first ------------------------------------

OLDEST_SAMPLE: Final = "SELECT min(time_ms) FROM samples"
OLDEST_ROLLUP: Final = "SELECT min(minute_ms) FROM rollups"
DROP_SAMPLES: Final = """
DELETE FROM samples WHERE (time_ms, series_id) IN
    (SELECT time_ms, series_id FROM samples WHERE time_ms < ? ORDER BY time_ms LIMIT ?)"""
DROP_ROLLUPS: Final = """
DELETE FROM rollups WHERE (minute_ms, series_id) IN
    (SELECT minute_ms, series_id FROM rollups WHERE minute_ms < ? ORDER BY minute_ms LIMIT ?)"""
DROP_TRANSITIONS: Final = """
DELETE FROM transitions WHERE id IN (SELECT id FROM transitions WHERE time_ms < ? ORDER BY time_ms LIMIT ?)"""
DROP_HEALTH: Final = """
DELETE FROM health WHERE id IN (SELECT id FROM health WHERE time_ms < ? ORDER BY time_ms LIMIT ?)"""
DROP_EVENTS: Final = """
DELETE FROM events WHERE id IN (SELECT id FROM events WHERE time_ms < ? ORDER BY time_ms LIMIT ?)"""
DROP_RUNS: Final = """
DELETE FROM runs WHERE run_id IN
    (SELECT run_id FROM runs WHERE started_ms < ? AND run_id < (SELECT max(run_id) FROM runs) LIMIT ?)"""
DROP_SERIES: Final = "DELETE FROM series WHERE id IN (SELECT id FROM series WHERE seen_ms < ? LIMIT ?)"

# --- reading: the last parameter is how many rows at most ---------------------------------------------

READ_SAMPLES: Final = """
SELECT series.text, samples.time_ms, samples.value, samples.special
FROM samples JOIN series ON series.id = samples.series_id
WHERE series.metric = ? AND samples.time_ms >= ? AND samples.time_ms < ?
ORDER BY samples.time_ms LIMIT ?"""
READ_ROLLUPS: Final = """
SELECT series.text, rollups.minute_ms, rollups.sum / rollups.count, NULL
FROM rollups JOIN series ON series.id = rollups.series_id
WHERE series.metric = ? AND rollups.minute_ms >= ? AND rollups.minute_ms < ?
ORDER BY rollups.minute_ms LIMIT ?"""
READ_INTERVALS: Final = "SELECT text, interval_ms FROM series WHERE metric = ? AND interval_ms IS NOT NULL LIMIT ?"
"""Of a file of version 4 or later."""
READ_SERIES: Final = """
SELECT id, text, interval_ms FROM series WHERE metric IN (SELECT value FROM json_each(?)) LIMIT ?"""
READ_OLDER_SERIES: Final = READ_SERIES.replace("interval_ms", "NULL")
"""Of a file before version 4."""
READ_RAW_SAMPLES: Final = """
SELECT series_id, time_ms, value, special
FROM samples
WHERE time_ms >= ? AND time_ms < ?
  AND series_id IN (SELECT id FROM series WHERE metric IN (SELECT value FROM json_each(?)))
ORDER BY time_ms LIMIT ?"""
READ_METRICS: Final = "SELECT DISTINCT metric FROM series ORDER BY metric LIMIT ?"
READ_VERSION: Final = "SELECT user_version FROM pragma_user_version LIMIT ?"
READ_TRANSITIONS: Final = """
SELECT time_ms, rule, labels, before, after, reason, value, active_since_ms, annotations, fired_ms, severity,
       severity_before, flapping, samples, peak, mean, true_ms, unknown_ms
FROM transitions WHERE time_ms >= ? AND time_ms < ? ORDER BY time_ms, id LIMIT ?"""
_READ_TRANSITIONS_3: Final = """
SELECT time_ms, rule, labels, before, after, reason, value, active_since_ms, annotations, fired_ms, severity,
       severity_before, flapping, NULL
FROM transitions WHERE time_ms >= ? AND time_ms < ? ORDER BY time_ms, id LIMIT ?"""
READ_OLDER_TRANSITIONS: Final = {
    1: """
SELECT time_ms, rule, labels, before, after, reason, value, active_since_ms, annotations, fired_ms, '', '', 0, NULL
FROM transitions WHERE time_ms >= ? AND time_ms < ? ORDER BY time_ms, id LIMIT ?""",
    2: """
SELECT time_ms, rule, labels, before, after, reason, value, active_since_ms, annotations, fired_ms, severity,
       severity_before, 0, NULL
FROM transitions WHERE time_ms >= ? AND time_ms < ? ORDER BY time_ms, id LIMIT ?""",
    3: _READ_TRANSITIONS_3,
    4: _READ_TRANSITIONS_3,
}
"""By version, of files that no engine has opened since."""
READ_HEALTH: Final = """
SELECT time_ms, component, status, reason, message, count
FROM health WHERE time_ms >= ? AND time_ms < ? ORDER BY time_ms, id LIMIT ?"""
READ_EVENTS: Final = """
SELECT body FROM events
WHERE time_ms >= ? AND time_ms < ? AND type != 'blind' ORDER BY time_ms, id LIMIT ?"""
# A span is noticed when it is over, or after that.
READ_BLIND: Final = """
SELECT body FROM events
WHERE time_ms > ? AND type = 'blind' AND body ->> 'from_ms' < ? ORDER BY time_ms, id LIMIT ?"""
READ_RUNS: Final = """
SELECT run_id, name, started_ms, ended_ms, outcome
FROM runs ORDER BY started_ms DESC, run_id DESC LIMIT ?"""
READ_RAW_FROM: Final = "SELECT value FROM meta WHERE key = 'raw_from_ms' LIMIT ?"
