"""The tables of state.db, what makes an older file one of this version, and the pragmas. Text only.

Every statement is a constant with bound parameters (fault F138). Nothing here opens a file or runs a statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["APPLICATION_ID", "MIGRATIONS", "PRAGMAS", "PRAGMAS_OF_MAKING", "SCHEMA", "USER_VERSION"]

APPLICATION_ID: Final = 0x4C575331
"""`LWS1`, at offset 68 of the file's header: this is a ledger of Longwatch and nobody else's."""
USER_VERSION: Final = 1

# One connection writes and checkpoints (F24). synchronous = FULL syncs the log at each commit: what is acknowledged
# survives a power cut, on a disk that does what it says. Automatic checkpoints swallow I/O errors (M5): ours are
# explicit. With the temporary store in memory, a full disk does not stop a DELETE. cell_size_check finds damage early.
PRAGMAS: Final = (
    "PRAGMA busy_timeout = 5000",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA journal_size_limit = 16777216",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA foreign_keys = OFF",
)
# A file that nobody has yet is synced as a whole before it is put into place. Until then nothing of it counts, and each
# sync would keep the core waiting.
PRAGMAS_OF_MAKING: Final = ("PRAGMA journal_mode = MEMORY", "PRAGMA synchronous = OFF")
SHORT_BUSY_TIMEOUT: Final = "PRAGMA busy_timeout = 200"
BUSY_TIMEOUT: Final = "PRAGMA busy_timeout = 5000"
SET_WAL: Final = "PRAGMA journal_mode = WAL"
GET_SYNCHRONOUS: Final = "PRAGMA synchronous"
GET_APPLICATION_ID: Final = "PRAGMA application_id"
GET_USER_VERSION: Final = "PRAGMA user_version"
SET_APPLICATION_ID: Final = "PRAGMA application_id = 1280791345"  # APPLICATION_ID: a PRAGMA takes no parameters
GET_SCHEMA: Final = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name"
CHECK: Final = "PRAGMA integrity_check(1)"
CHECK_QUICKLY: Final = "PRAGMA quick_check(1)"
CHECKPOINT: Final = "PRAGMA wal_checkpoint(PASSIVE)"
CHECKPOINT_TRUNCATE: Final = "PRAGMA wal_checkpoint(TRUNCATE)"
GET_PAGE_SIZE: Final = "PRAGMA page_size"

SCHEMA: Final = (
    """
    CREATE TABLE meta (
        key   TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """
    CREATE TABLE alert (
        rule_key TEXT NOT NULL,
        labels   TEXT NOT NULL,
        row      BLOB NOT NULL,
        crc      INTEGER NOT NULL,
        PRIMARY KEY (rule_key, labels)
    ) STRICT, WITHOUT ROWID""",
    # AUTOINCREMENT: a number is never given twice, also when the rows it was given to are gone.
    """
    CREATE TABLE transition (
        seq         INTEGER PRIMARY KEY AUTOINCREMENT,
        time_ms     INTEGER NOT NULL,
        rule_key    TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        kind        TEXT NOT NULL,
        body        BLOB NOT NULL,
        crc         INTEGER NOT NULL
    ) STRICT""",
    """
    CREATE TABLE cursor (
        name TEXT PRIMARY KEY,
        seq  INTEGER NOT NULL,
        crc  INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """
    CREATE TABLE counter (
        name  TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """
    CREATE TABLE outbox (
        id             INTEGER PRIMARY KEY AUTOINCREMENT,
        receiver       TEXT NOT NULL,
        order_key      TEXT NOT NULL,
        message_id     TEXT NOT NULL UNIQUE,
        body           BLOB NOT NULL,
        covers         BLOB NOT NULL,
        created_ms     INTEGER NOT NULL,
        attempts       INTEGER NOT NULL DEFAULT 0,
        next_try_ms    INTEGER NOT NULL DEFAULT 0,
        next_try_boot  TEXT NOT NULL DEFAULT '',
        next_try_up_ms INTEGER NOT NULL DEFAULT 0,
        status         TEXT NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'dead', 'parked')),
        reason         TEXT NOT NULL DEFAULT '',
        crc            INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX outbox_by_order ON outbox (receiver, status, order_key, id)",
    """
    CREATE TABLE delivered (
        receiver  TEXT NOT NULL,
        alert_key TEXT NOT NULL,
        kind      TEXT NOT NULL,
        seq       INTEGER NOT NULL,
        time_ms   INTEGER NOT NULL,
        crc       INTEGER NOT NULL,
        PRIMARY KEY (receiver, alert_key)
    ) STRICT, WITHOUT ROWID""",
    # What the outbox holds for each receiver: its limits are looked at with each message, and counting rows would
    # cost more the longer a receiver is dead.
    """
    CREATE TABLE tally (
        receiver TEXT PRIMARY KEY,
        messages INTEGER NOT NULL,
        bytes    INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """
    CREATE TRIGGER outbox_in AFTER INSERT ON outbox
    BEGIN
        INSERT INTO tally VALUES (new.receiver, 1, length(new.body))
        ON CONFLICT (receiver) DO UPDATE SET messages = messages + 1, bytes = bytes + excluded.bytes;
    END""",
    """
    CREATE TRIGGER outbox_out AFTER DELETE ON outbox
    BEGIN
        UPDATE tally SET messages = messages - 1, bytes = bytes - length(old.body) WHERE receiver = old.receiver;
    END""",
    "INSERT INTO meta VALUES ('commit', '0')",
    "PRAGMA user_version = 1",  # USER_VERSION
)

MIGRATIONS: Final[Mapping[int, tuple[str, ...]]] = {}
"""By the version of a file, what makes it one of the next version; the last statement of each sets `user_version`.
Each is run in one transaction. A migrated file must have the same schema as a new one, character by character: that is
how damage to a schema is told from an older one."""

GET_COMMIT: Final = "SELECT value FROM meta WHERE key = 'commit'"
SET_COMMIT: Final = "UPDATE meta SET value = ? WHERE key = 'commit'"
GET_SEQUENCES: Final = "SELECT name, seq FROM sqlite_sequence WHERE name IN ('transition', 'outbox')"
