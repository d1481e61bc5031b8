"""asyncpg with its pool and its cache of statements; lanes are tasks of one event loop."""

import asyncio
import io
import json
import threading
from datetime import datetime
from decimal import Decimal

import asyncpg

from lanes import reply, requests, sample_row, told

COLUMNS = "id, big, num, body, at, doc, list, nothing"


class Pool:
    """A pool that several lanes share."""

    def __init__(self, target, connections):
        self.lanes = 0
        self.pool = asyncpg.create_pool(**target, min_size=0, max_size=connections, init=self._init)

    async def _init(self, connection):
        await connection.set_type_codec("json", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


pools = {}


class Lane:
    async def open(self, target, pool, connections):
        self.shared = pools.get(pool) or pools.setdefault(pool, Pool(target, connections))
        self.shared.lanes += 1
        self.pool = self.shared.pool
        await self.pool
        self.held = None
        self.task = None

    async def close(self):
        self.shared.lanes -= 1
        if self.shared.lanes == 0:
            await self.pool.close()

    async def do(self, work):
        """Does the work on the transaction's connection, or on one that the pool lends out."""
        if self.held is not None:
            return await work(self.held)
        async with self.pool.acquire() as connection:
            return await work(connection)

    async def sql(self, text, values=()):
        return [dict(row) for row in await self.do(lambda connection: connection.fetch(text, *values))]

    async def twice(self, n):
        return await self.sql("SELECT pg_backend_pid() AS pid, $1::int * 2 AS twice", [n])

    async def begin(self):
        self.held = await self.pool.acquire()
        self.block = self.held.transaction()
        await self.block.start()

    async def commit(self):
        await self.block.commit()
        await self._give_back()

    async def rollback(self):
        await self.block.rollback()
        await self._give_back()

    async def _give_back(self):
        held, self.held = self.held, None
        await self.pool.release(held)

    async def cancel(self, text):
        """A task that is cancelled sends a cancel request, and its connection is usable once the query has ended."""
        self.task = asyncio.create_task(self.do(lambda connection: connection.execute(text)))
        await self.task

    def now(self):
        self.task.cancel()

    async def store(self, sample):
        values = {
            **sample,
            "big": int(sample["big"]),
            "num": Decimal(sample["num"]),
            "at": datetime.fromisoformat(sample["at"].replace("Z", "+00:00")),
        }
        await self.do(
            lambda connection: connection.execute(
                f"INSERT INTO samples ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                *(values[name] for name in COLUMNS.split(", ")),
            )
        )
        return sample_row(
            await self.do(lambda connection: connection.fetchrow("SELECT * FROM samples WHERE id = $1", sample["id"]))
        )

    async def cursor(self, rows, size):
        """Sums numbers up by a cursor, which holds its portal open between other statements."""
        async with self.pool.acquire() as connection, connection.transaction():
            total = 0
            async for row in connection.cursor("SELECT i FROM generate_series(1, $1::int) AS i", rows, prefetch=size):
                total += row["i"]
                if row["i"] % size == 0:
                    total += await connection.fetchval("SELECT $1::int", 0)
            return total

    async def many(self, rows):
        """Binds one statement many times in one go, then does so with a wrong one among them."""
        async with self.pool.acquire() as connection:
            insert = "INSERT INTO samples (id, body) VALUES ($1, $2)"
            await connection.executemany(insert, [(i, "ä" * i) for i in range(rows)])
            try:
                await connection.executemany(insert, [(rows, ""), (0, ""), (rows + 1, "")])
            except asyncpg.PostgresError as error:
                return error.sqlstate

    async def evicted(self, target, count):
        """A cache of two statements, whose others are closed by the protocol."""
        connection = await asyncpg.connect(**target, statement_cache_size=2)
        try:
            return [await connection.fetchval(f"SELECT $1::int + {n}", 0) for n in [*range(count), *range(count)]]
        finally:
            await connection.close()

    async def composite(self, name):
        """Types that the driver has to ask for, by statements of its own."""
        async with self.pool.acquire() as connection:
            async with connection.transaction():
                await connection.execute(f"CREATE TYPE {name} AS (n int, t text)")
                row = await connection.fetchrow(f"SELECT (1, 'ä')::{name} AS pair, ARRAY[(2, 'b')::{name}] AS pairs")
                await connection.execute(f"DROP TYPE {name}")
            return [dict(row["pair"]), [dict(pair) for pair in row["pairs"]]]

    async def copy(self, rows):
        """Copies records in, in binary form, and out as text."""
        async with self.pool.acquire() as connection:
            tag = await connection.copy_records_to_table(
                "samples", columns=["id", "body"], records=((i, "ä" * (i % 50)) for i in range(rows))
            )
            out = io.BytesIO()
            await connection.copy_from_query("SELECT id, body FROM samples WHERE id >= $1 ORDER BY id", 1, output=out)
            return [tag, out.getvalue().decode() == "".join(f"{i}\t{'ä' * (i % 50)}\n" for i in range(1, rows))]


def state_of(error):
    if isinstance(error, asyncio.CancelledError):
        return "CancelledError"
    return getattr(error, "sqlstate", None)


async def serve():
    """As `lanes.serve`, on the event loop."""
    loop = asyncio.get_running_loop()
    lanes = {}
    arrived = asyncio.Queue()

    def read():
        for request in requests():
            loop.call_soon_threadsafe(arrived.put_nowait, request)
        loop.call_soon_threadsafe(arrived.put_nowait, None)

    async def answer(number, op, rest):
        try:
            reply(number, value=await getattr(lanes[number], op)(**rest))
        except BaseException as error:  # also the end of a task that is cancelled
            reply(number, error=told(error, state_of))

    threading.Thread(target=read, daemon=True).start()
    running = set()
    while (request := await arrived.get()) is not None:
        number, op, rest = request
        lane = lanes.setdefault(number, Lane())
        if op == "now":
            lane.now()
            continue
        task = asyncio.create_task(answer(number, op, rest))
        running.add(task)
        task.add_done_callback(running.discard)


asyncio.run(serve())
