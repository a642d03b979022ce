-- history.db as version 2 made it.
PRAGMA application_id = 1280788529;
PRAGMA user_version = 2;
CREATE TABLE meta (
        key   TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
CREATE TABLE series (
        id      INTEGER PRIMARY KEY,
        metric  TEXT NOT NULL,
        labels  TEXT NOT NULL,
        text    TEXT NOT NULL UNIQUE,
        seen_ms INTEGER NOT NULL
    ) STRICT;
CREATE INDEX series_by_metric ON series (metric);
CREATE TABLE samples (
        time_ms   INTEGER NOT NULL,
        series_id INTEGER NOT NULL,
        value     REAL,
        special   TEXT,
        PRIMARY KEY (time_ms, series_id)
    ) STRICT, WITHOUT ROWID;
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
    ) STRICT, WITHOUT ROWID;
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
    END;
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
        UNIQUE (time_ms, rule, labels, before, after, severity_before, severity)
    ) STRICT;
CREATE TABLE health (
        id        INTEGER PRIMARY KEY,
        time_ms   INTEGER NOT NULL,
        component TEXT NOT NULL,
        status    TEXT NOT NULL,
        reason    TEXT NOT NULL,
        message   TEXT NOT NULL,
        count     INTEGER NOT NULL
    ) STRICT;
CREATE INDEX health_by_time ON health (time_ms);
CREATE TABLE events (
        id      INTEGER PRIMARY KEY,
        time_ms INTEGER NOT NULL,
        type    TEXT NOT NULL,
        body    TEXT NOT NULL
    ) STRICT;
CREATE INDEX events_by_time ON events (time_ms);
CREATE TABLE runs (
        run_id     INTEGER PRIMARY KEY AUTOINCREMENT,
        name       TEXT NOT NULL,
        started_ms INTEGER NOT NULL,
        ended_ms   INTEGER NOT NULL DEFAULT 0,
        outcome    TEXT NOT NULL DEFAULT ''
    ) STRICT;
CREATE VIEW v_samples AS
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', time_ms / 1000.0, 'unixepoch') AS time,
           metric, labels, coalesce(special, value) AS value, time_ms
    FROM samples JOIN series ON series.id = samples.series_id;
CREATE VIEW v_rollups AS
    SELECT strftime('%Y-%m-%dT%H:%MZ', minute_ms / 1000, 'unixepoch') AS minute,
           metric, labels, count, sum / count AS mean, min, max, last, minute_ms
    FROM rollups JOIN series ON series.id = rollups.series_id;
CREATE VIEW v_transitions AS
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', time_ms / 1000.0, 'unixepoch') AS time,
           rule, kind, coalesce(nullif(severity, ''), json_extract(labels, '$.severity')) AS severity, reason, value,
           strftime('%Y-%m-%dT%H:%M:%fZ', active_since_ms / 1000.0, 'unixepoch') AS active_since,
           labels, annotations, fingerprint, time_ms, active_since_ms, fired_ms
    FROM transitions;
CREATE VIEW v_health AS
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', time_ms / 1000.0, 'unixepoch') AS time,
           component, status, reason, message, count, time_ms
    FROM health;
CREATE VIEW v_events AS
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', time_ms / 1000.0, 'unixepoch') AS time, type, body, time_ms
    FROM events;
CREATE VIEW v_runs AS
    SELECT run_id, name,
           strftime('%Y-%m-%dT%H:%M:%fZ', started_ms / 1000.0, 'unixepoch') AS started,
           iif(ended_ms > 0, strftime('%Y-%m-%dT%H:%M:%fZ', ended_ms / 1000.0, 'unixepoch'), NULL) AS ended,
           outcome, started_ms, ended_ms
    FROM runs;
INSERT INTO meta VALUES ('sentinel', 'longwatch history'), ('raw_from_ms', '-9223372036854775808');
