"""The tables of the catalog; ``docs/index-format.md`` explains them."""

from __future__ import annotations

SCHEMA = """
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE segments (
    id       INTEGER PRIMARY KEY,
    file     TEXT NOT NULL UNIQUE,
    rows     INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    checksum TEXT NOT NULL,
    added    INTEGER NOT NULL
);
CREATE TABLE items (
    id       INTEGER NOT NULL,
    path     TEXT NOT NULL,
    label    TEXT,
    width    INTEGER NOT NULL,
    height   INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256   TEXT NOT NULL,
    added    INTEGER NOT NULL,
    removed  INTEGER,
    PRIMARY KEY (id, added)
) WITHOUT ROWID;
CREATE UNIQUE INDEX items_by_path ON items (path, coalesce(removed, 0));
CREATE INDEX items_by_label ON items (label);
CREATE INDEX items_by_sha256 ON items (sha256);
CREATE INDEX items_removed ON items (removed) WHERE removed IS NOT NULL;
CREATE TABLE attributes (
    item    INTEGER NOT NULL,
    name    TEXT NOT NULL,
    value   NOT NULL,
    added   INTEGER NOT NULL,
    removed INTEGER
);
CREATE INDEX attributes_by_value ON attributes (name, value, item, added, removed);
CREATE INDEX attributes_by_item ON attributes (item);
CREATE TABLE attribute_kinds (
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    PRIMARY KEY (name, kind)
) WITHOUT ROWID;
CREATE TABLE structures (
    id         INTEGER PRIMARY KEY,
    file       TEXT NOT NULL UNIQUE,
    factory    TEXT NOT NULL,
    parameters TEXT NOT NULL,
    ids        BLOB NOT NULL,
    measured   TEXT NOT NULL,
    size       INTEGER NOT NULL,
    checksum   TEXT NOT NULL,
    added      INTEGER NOT NULL
);
CREATE TABLE garbage (
    file TEXT PRIMARY KEY
);
CREATE TABLE skipped (
    path   TEXT NOT NULL,
    reason TEXT NOT NULL
);
"""

FACTS = """
CREATE TABLE IF NOT EXISTS facts (
    item  INTEGER NOT NULL,
    name  TEXT NOT NULL,
    value NOT NULL,
    PRIMARY KEY (item, name)
) WITHOUT ROWID
"""
"""What items' own files told, to know it from what somebody attached. Indexes of format 2 may be without it."""

LEFT_OUT = """
CREATE TABLE IF NOT EXISTS left_out (
    path     TEXT PRIMARY KEY,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    reason   TEXT,
    decoder  TEXT NOT NULL
) WITHOUT ROWID
"""
"""Made when there is something to put into it: indexes of format 2 may be without it."""
