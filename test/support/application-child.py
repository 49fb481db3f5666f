"""The same as application-child.ts on the SQLite of the system's Python: python3 application-child.py PATH"""

import json
import os
import random
import select
import sqlite3
import sys
import time

path = sys.argv[1]
db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
db.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
db.execute("PRAGMA synchronous = normal").fetchall()
stats = {"commits": 0, "longestMs": 0, "locked": 0, "checkpoints": 0, "errors": []}
rng = random.Random(1)


def insert(rows, blob):
    db.executemany("INSERT INTO t (v, b) VALUES (?, ?)", ((f"v{rng.randrange(1000)}", os.urandom(blob)) for _ in range(rows)))


def transaction(body):
    db.execute("BEGIN IMMEDIATE")
    try:
        body()
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def write(max_rows):
    def body():
        low, high = db.execute("SELECT (SELECT min(id) FROM t), (SELECT max(id) FROM t)").fetchone()
        low, high = low or 0, high or 0
        at = low + rng.randrange(max(1, high - low))
        if high - low > max_rows:
            db.execute("DELETE FROM t WHERE id < ?", (high - max_rows / 2,))
        kind = rng.random()
        if kind < 0.6:
            insert(1 + rng.randrange(10), rng.randrange(400))
        elif kind < 0.9:
            db.execute("UPDATE t SET v = ? WHERE id BETWEEN ? AND ?", (f"u{rng.randrange(1000)}", at, at + rng.randrange(10)))
        else:
            db.execute("DELETE FROM t WHERE id BETWEEN ? AND ?", (at, at + rng.randrange(10)))

    started = time.monotonic()
    try:
        transaction(body)
        stats["commits"] += 1
    except sqlite3.Error as error:
        if "locked" in str(error) or "busy" in str(error):
            stats["locked"] += 1
        elif len(stats["errors"]) < 10:
            stats["errors"].append(str(error))
    stats["longestMs"] = max(stats["longestMs"], (time.monotonic() - started) * 1000)


def answer(command):
    global rng, turn
    op = command["op"]
    if op == "exec":
        rows = []
        for sql in command["sql"]:
            cursor = db.execute(sql)
            names = [column[0] for column in cursor.description or []]
            rows = [dict(zip(names, row)) for row in cursor.fetchall()]
        return {"rows": rows}
    if op == "insert":
        transaction(lambda: insert(command.get("rows", 1), command.get("blob", 200)))
        return {}
    if op == "run":
        rng = random.Random(command.get("seed", 1))
        turn = (command.get("pauseMs", 0) / 1000, command.get("maxRows", 100_000))
        return {}
    if op == "pause":
        turn = None
        return stats
    raise ValueError(f"unknown command {op}")


turn = None
pending = b""
while True:
    wait = None if turn is None else turn[0]
    if select.select([0], [], [], wait)[0]:
        piece = os.read(0, 65536)
        if not piece:
            break
        *lines, pending = (pending + piece).split(b"\n")
        for line in lines:
            try:
                reply = answer(json.loads(line))
            except Exception as error:
                reply = {"error": str(error)}
            print(json.dumps(reply), flush=True)
    elif turn is not None:
        write(turn[1])
db.close()
