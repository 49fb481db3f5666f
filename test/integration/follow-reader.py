"""Reads a followed database without end until stdin closes: python3 follow-reader.py PATH

One connection stays open, a new one is made for every other look. Each look is one read transaction: the accounts add up to 0,
the ledger's length never goes down, and now and then the whole file is checked. Prints what it saw as one JSON line.
"""

import json
import select
import sqlite3
import sys

path = sys.argv[1]
seen = {"looks": 0, "states": 0, "checks": 0, "longest": 0, "busy": 0, "errors": []}
last = {}


def connect():
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=10)


def look(db, name):
    db.execute("BEGIN")
    try:
        total, = db.execute("SELECT sum(balance) FROM account").fetchone()
        ledger, high = db.execute("SELECT count(*), max(id) FROM ledger").fetchone()
        if seen["looks"] % 10 == 0:
            answer = db.execute("PRAGMA integrity_check").fetchone()[0]
            seen["checks"] += 1
            if answer != "ok":
                seen["errors"].append(answer)
    finally:
        db.execute("COMMIT")
    if total != 0:
        seen["errors"].append(f"{name}: the accounts add up to {total}")
    if ledger != (high or 0):
        seen["errors"].append(f"{name}: {ledger} entries up to {high}")
    if ledger < last.get(name, 0):
        seen["errors"].append(f"{name}: {ledger} entries after {last[name]}")
    if ledger != last.get(name):
        seen["states"] += 1
    last[name] = ledger
    seen["looks"] += 1
    seen["longest"] = max(seen["longest"], ledger)


kept = connect()
while not select.select([0], [], [], 0.001)[0]:
    try:
        look(kept, "kept")
        db = connect()
        look(db, "new")
        db.close()
    except sqlite3.OperationalError as error:
        # A follower that died leaves a half-applied transaction to be rolled back, which a reader that may not write cannot do: SQLite
        # says so instead of showing it, until somebody follows again.
        if "locked" in str(error) or "readonly" in str(error):
            seen["busy"] += 1
        else:
            seen["errors"].append(str(error))
    except sqlite3.Error as error:
        seen["errors"].append(str(error))
    if len(seen["errors"]) > 10:
        break
kept.close()
print(json.dumps(seen), flush=True)
