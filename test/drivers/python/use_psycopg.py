"""psycopg 3: every statement with values is prepared at its first use."""

from datetime import datetime
from decimal import Decimal

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Json

from lanes import sample_row, serve, with_percent

COLUMNS = "id, big, num, body, at, doc, list, nothing"


class Lane:
    def open(self, target, **_):
        self.connection = psycopg.connect(
            host=target["host"],
            port=target["port"],
            user=target["user"],
            password=target["password"],
            dbname=target["database"],
            autocommit=True,
            prepare_threshold=0,
            row_factory=dict_row,
        )

    def close(self):
        self.connection.close()

    def run(self, text, values=None):
        cursor = self.connection.execute(with_percent(text, values), values or None)
        return cursor.fetchall() if cursor.description else []

    sql = run

    def twice(self, n):
        return self.run("SELECT pg_backend_pid() AS pid, $1::int * 2 AS twice", [n])

    def begin(self):
        self.block = self.connection.transaction()
        self.block.__enter__()

    def commit(self):
        self.block.__exit__(None, None, None)

    def rollback(self):
        undo = psycopg.Rollback(self.block)
        self.block.__exit__(type(undo), undo, None)

    def cancel(self, text):
        return self.run(text)

    def now(self):
        self.connection.cancel()

    def store(self, sample):
        values = {
            **sample,
            "big": int(sample["big"]),
            "num": Decimal(sample["num"]),
            "at": datetime.fromisoformat(sample["at"].replace("Z", "+00:00")),
            "doc": Json(sample["doc"]),
        }
        names = ", ".join(f"%({name})s" for name in COLUMNS.split(", "))
        self.connection.execute(f"INSERT INTO samples ({COLUMNS}) VALUES ({names})", values)
        cursor = self.connection.cursor(binary=True)
        return sample_row(cursor.execute("SELECT * FROM samples WHERE id = %s", [sample["id"]]).fetchone())

    def pipeline(self, ids):
        """Inserts all ids in one go, with an id that is there already in the middle of the next one."""
        insert = "INSERT INTO samples (id) VALUES (%s) RETURNING id"
        with self.connection.pipeline() as pipeline:
            cursors = [self.connection.execute(insert, [i]) for i in ids]
            pipeline.sync()
            inserted = [cursor.fetchone()["id"] for cursor in cursors]
        try:
            with self.connection.pipeline():
                for i in [-1, ids[0], -2]:
                    self.connection.execute(insert, [i])
        except psycopg.errors.UniqueViolation as error:
            failed = error.sqlstate
        with self.connection.pipeline():
            after = self.connection.execute("SELECT %s::int + 1 AS next", [3])
        return {"inserted": inserted, "failed": failed, "after": after.fetchone()["next"]}

    def server_cursor(self, rows, size):
        """Sums numbers up by a server-side cursor, and goes back in it."""
        with self.connection.transaction(), self.connection.cursor(name="numbers", scrollable=True) as cursor:
            cursor.itersize = size
            cursor.execute("SELECT i FROM generate_series(1, %s) AS i", [rows])
            total = sum(row["i"] for row in cursor)
            cursor.scroll(-rows - 1)
            return [total, cursor.fetchone()["i"], len(cursor.fetchmany(size))]

    def few_names(self, count):
        """More statements than are to stay prepared: the driver deallocates the oldest by SQL."""
        self.connection.prepared_max = 2
        return [
            self.connection.execute(f"SELECT %s::int AS n{n}", [n], prepare=True).fetchone()[f"n{n}"]
            for n in range(count)
        ]

    def undone(self):
        """After ROLLBACK and DROP the driver forgets its statements, and says so by DEALLOCATE ALL."""
        numbers = []
        for end in ["ROLLBACK", "DROP TABLE gone"]:
            self.connection.execute("BEGIN")
            self.connection.execute("CREATE TEMP TABLE gone (n int) ON COMMIT DROP")
            for _ in range(2):
                numbers.append(self.connection.execute("SELECT %s::int AS n", [1]).fetchone()["n"])
            self.connection.execute(end)
            if end != "ROLLBACK":
                self.connection.execute("COMMIT")
        return numbers

    def copy(self, rows):
        """Copies rows in and out, as text and as binary."""
        counts = []
        with self.connection.transaction(), self.connection.cursor() as cursor:
            with cursor.copy("COPY samples (id, body) FROM STDIN") as copy:
                for i in range(rows):
                    copy.write_row((i, "ä\t\n" * (i % 50)))
            counts.append(cursor.rowcount)
            with cursor.copy("COPY samples (id, body) FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(["int4", "text"])
                for i in range(rows, 2 * rows):
                    copy.write_row((i, "ä\t\n" * (i % 50)))
            counts.append(cursor.rowcount)
            for form in ["text", "binary"]:
                with cursor.copy(f"COPY (SELECT id, body FROM samples ORDER BY id) TO STDOUT (FORMAT {form})") as copy:
                    copy.set_types(["int4", "text"])
                    counts.append([sum(length) for length in zip(*((row[0], len(row[1])) for row in copy.rows()))])
        return counts

    def broken_copy(self):
        """A COPY that the client breaks off, by CopyFail, and one that the server ends."""
        states = []
        for work in [self._abandon, self._misfit]:
            try:
                work()
            except psycopg.Error as error:
                states.append(error.sqlstate)
        return states

    def _abandon(self):
        with self.connection.cursor() as cursor, cursor.copy("COPY samples (id) FROM STDIN") as copy:
            copy.write_row([1])
            raise ZeroDivisionError

    def _misfit(self):
        with self.connection.cursor() as cursor, cursor.copy("COPY samples (id) FROM STDIN") as copy:
            copy.write("no number\n")


def state_of(error):
    return getattr(error, "sqlstate", None)


serve(Lane, state_of)
