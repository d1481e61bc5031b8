"""Asks the console with psycopg 3: prepared statements, binary results, a transaction that fails, a pipeline."""

import json
import sys

import psycopg

connection = psycopg.connect(sys.argv[1], prepare_threshold=2)
lists = [connection.execute("SHOW LISTS").fetchall() for _ in range(6)][-1]
with connection.cursor(binary=True) as cursor:
    binary = [cursor.execute("SHOW LISTS", prepare=True).fetchall() for _ in range(2)][-1]
    totals = cursor.execute("SHOW TOTALS").fetchall()
try:
    connection.execute("SHOW nothing")
    error = None
except psycopg.Error as failure:
    error = failure.sqlstate
state = connection.info.transaction_status.name
connection.rollback()
with connection.transaction():
    with connection.transaction():
        connection.execute("SHOW STATE")
connection.autocommit = True
with connection.pipeline():
    cursors = [connection.execute("SHOW STATE") for _ in range(3)]
    pipelined = [cursor.fetchone()[0] for cursor in cursors]
connection.execute("RELOAD", prepare=True)
version = connection.execute("SHOW VERSION").fetchone()[0]
connection.close()
print(json.dumps({
    "lists": lists,
    "binary": binary,
    "isWhole": all(value == int(value) for _, value in totals),
    "error": error,
    "state": state,
    "pipelined": pipelined,
    "version": version,
}))
