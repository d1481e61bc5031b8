"""psycopg2 with its ThreadedConnectionPool; what it prepares, it prepares by SQL."""

import io
from datetime import datetime
from decimal import Decimal

import psycopg2
import psycopg2.extensions
from psycopg2.extras import Json, RealDictCursor, execute_batch, execute_values
from psycopg2.pool import ThreadedConnectionPool

from lanes import Pools, sample_row, serve, with_percent

COLUMNS = ["id", "big", "num", "body", "at", "doc", "list", "nothing"]


class Connection(psycopg2.extensions.connection):
    """A connection that knows whether it has made its statement."""

    prepared = False


def make_pool(target, connections):
    return ThreadedConnectionPool(
        1,
        connections,
        host=target["host"],
        port=target["port"],
        user=target["user"],
        password=target["password"],
        dbname=target["database"],
        connection_factory=Connection,
        cursor_factory=RealDictCursor,
    )


pools = Pools(make_pool, lambda pool: pool.closeall())


class Lane:
    def open(self, **request):
        self.pool = pools.open(**request)
        self.held = None

    def close(self):
        pools.close(self.pool)

    def do(self, work):
        """Does the work on the transaction's connection, or on one that the pool lends out, in a transaction."""
        if self.held is not None:
            return work(self.held)
        self.begin()
        try:
            result = work(self.held)
        except BaseException:
            self.rollback()
            raise
        self.commit()
        return result

    def begin(self):
        self.held = self.pool.value.getconn()

    def commit(self):
        self.held.commit()
        self._give_back()

    def rollback(self):
        self.held.rollback()
        self._give_back()

    def _give_back(self):
        self.pool.value.putconn(self.held)
        self.held = None

    def run(self, text, values=None):
        def work(connection):
            with connection.cursor() as cursor:
                cursor.execute(with_percent(text, values), values or None)
                return cursor.fetchall() if cursor.description else []

        return self.do(work)

    sql = run

    def twice(self, n):
        def work(connection):
            with connection.cursor() as cursor:
                if not connection.prepared:
                    cursor.execute("PREPARE twice (int) AS SELECT pg_backend_pid() AS pid, $1 * 2 AS twice")
                    connection.prepared = True
                cursor.execute("EXECUTE twice (%s)", [n])
                return cursor.fetchall()

        return self.do(work)

    def cancel(self, text):
        return self.run(text)

    def now(self):
        self.held.cancel()

    def store(self, sample):
        values = {
            **sample,
            "big": int(sample["big"]),
            "num": Decimal(sample["num"]),
            "at": datetime.fromisoformat(sample["at"].replace("Z", "+00:00")),
            "doc": Json(sample["doc"]),
        }

        def work(connection):
            with connection.cursor() as cursor:
                execute_values(cursor, "INSERT INTO samples VALUES %s", [[values[name] for name in COLUMNS]])
                cursor.execute("SELECT * FROM samples WHERE id = %s", [sample["id"]])
                return sample_row(cursor.fetchone())

        return self.do(work)

    def named_cursor(self, rows, size):
        """Sums numbers up by a server-side cursor."""

        def work(connection):
            with connection.cursor("numbers") as cursor:
                cursor.itersize = size
                cursor.execute("SELECT i FROM generate_series(1, %s) AS i", [rows])
                return sum(row["i"] for row in cursor)

        return self.do(work)

    def batch(self, rows):
        """Many statements in one message, by a statement made with SQL."""

        def work(connection):
            with connection.cursor() as cursor:
                cursor.execute("PREPARE put (int, text) AS INSERT INTO samples (id, body) VALUES ($1, $2)")
                execute_batch(cursor, "EXECUTE put (%s, %s)", [(i, "it's ä") for i in range(rows)], page_size=50)
                cursor.execute("DEALLOCATE put")

        return self.do(work)

    def copy(self, rows):
        """Copies rows in and out again."""

        def work(connection):
            with connection.cursor() as cursor:
                text = "".join(f"{i}\t{'ä' * (i % 50)}\n" for i in range(rows))
                cursor.copy_expert("COPY samples (id, body) FROM STDIN", io.StringIO(text))
                copied = cursor.rowcount
                out = io.StringIO()
                cursor.copy_expert("COPY (SELECT id, body FROM samples ORDER BY id) TO STDOUT", out)
                return [copied, out.getvalue() == text]

        return self.do(work)

    def levels(self):
        """Transactions of two kinds on one connection of the pool."""
        connection = self.pool.value.getconn()
        try:
            found = []
            for level, readonly in [("SERIALIZABLE", True), ("READ COMMITTED", False)]:
                connection.set_session(isolation_level=level, readonly=readonly)
                with connection, connection.cursor() as cursor:
                    cursor.execute("SELECT current_setting('transaction_isolation') AS level,"
                                   " current_setting('transaction_read_only') AS readonly")
                    found.append(cursor.fetchone())
            return found
        finally:
            self.pool.value.putconn(connection)


serve(Lane, lambda error: getattr(error, "pgcode", None))
