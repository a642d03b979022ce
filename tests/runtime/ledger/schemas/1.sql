PRAGMA application_id = 1280791345;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE alert (
        rule_key TEXT NOT NULL,
        labels   TEXT NOT NULL,
        row      BLOB NOT NULL,
        crc      INTEGER NOT NULL,
        PRIMARY KEY (rule_key, labels)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "alert" VALUES('rule','x',X'726F77',984466989);
INSERT INTO "alert" VALUES('rule','y',X'74776F',1678469429);
CREATE TABLE counter (
        name  TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
CREATE TABLE cursor (
        name TEXT PRIMARY KEY,
        seq  INTEGER NOT NULL,
        crc  INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "cursor" VALUES('policy',2,990644630);
CREATE TABLE delivered (
        receiver  TEXT NOT NULL,
        alert_key TEXT NOT NULL,
        kind      TEXT NOT NULL,
        seq       INTEGER NOT NULL,
        time_ms   INTEGER NOT NULL,
        crc       INTEGER NOT NULL,
        PRIMARY KEY (receiver, alert_key)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "delivered" VALUES('ops','z','firing',1,1767225600000,2048753184);
CREATE TABLE meta (
        key   TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('commit','c3a615ccdd07fa77:2');
INSERT INTO "meta" VALUES('install_id','7900f847b13b7908100724c224f279df');
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
    ) STRICT;
INSERT INTO "outbox" VALUES(2,'ops','g','evt_m1',X'6D31',X'9193A167A6666972696E6701',1767225600000,0,0,'',0,'waiting','',248498949);
INSERT INTO "outbox" VALUES(3,'ops','g','evt_m2',X'6D32',X'9193A167A6666972696E6701',1767225600000,0,0,'',0,'waiting','',3155752363);
CREATE TABLE tally (
        receiver TEXT PRIMARY KEY,
        messages INTEGER NOT NULL,
        bytes    INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "tally" VALUES('ops',2,4);
CREATE TABLE transition (
        seq         INTEGER PRIMARY KEY AUTOINCREMENT,
        time_ms     INTEGER NOT NULL,
        rule_key    TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        kind        TEXT NOT NULL,
        body        BLOB NOT NULL,
        crc         INTEGER NOT NULL
    ) STRICT;
INSERT INTO "transition" VALUES(1,1767225600000,'rule','f00d','firing',X'61',2437632978);
INSERT INTO "transition" VALUES(2,1767225600000,'rule','f00d','firing',X'62',1289955184);
INSERT INTO "transition" VALUES(3,1767225600000,'rule','f00d','firing',X'63',126153966);
CREATE INDEX outbox_by_order ON outbox (receiver, status, order_key, id);
CREATE TRIGGER outbox_in AFTER INSERT ON outbox
    BEGIN
        INSERT INTO tally VALUES (new.receiver, 1, length(new.body))
        ON CONFLICT (receiver) DO UPDATE SET messages = messages + 1, bytes = bytes + excluded.bytes;
    END;
CREATE TRIGGER outbox_out AFTER DELETE ON outbox
    BEGIN
        UPDATE tally SET messages = messages - 1, bytes = bytes - length(old.body) WHERE receiver = old.receiver;
    END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('transition',3);
INSERT INTO "sqlite_sequence" VALUES('outbox',3);
COMMIT;
