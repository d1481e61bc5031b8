"""SQLAlchemy on psycopg2 with pool_pre_ping and max_overflow: of its connections only two stay when they are idle."""

import asyncio
from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSON
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeMeta, Session, registry

from lanes import Pools, sample_row, serve

STAYING = 2
mapper_registry = registry()


class Base(metaclass=DeclarativeMeta):
    __abstract__ = True
    registry = mapper_registry
    metadata = mapper_registry.metadata
    __init__ = mapper_registry.constructor


class Sample(Base):
    __tablename__ = "samples"
    id = sa.Column(sa.Integer, primary_key=True)
    big = sa.Column(sa.BigInteger)
    num = sa.Column(sa.Numeric(30, 10))
    body = sa.Column(sa.Text)
    at = sa.Column(sa.DateTime(timezone=True))
    doc = sa.Column(JSON)
    list = sa.Column(ARRAY(sa.Integer))
    nothing = sa.Column(sa.Text)


def url(dialect, target):
    return sa.engine.URL.create(
        f"postgresql+{dialect}",
        username=target["user"],
        password=target["password"],
        host=target["host"],
        port=target["port"],
        database=target["database"],
    )


def make_engine(target, connections):
    staying = min(STAYING, connections)
    engine = sa.create_engine(
        url("psycopg2", target), future=True, pool_size=staying, max_overflow=connections - staying, pool_pre_ping=True
    )
    # Its first connection, which asks for the server's version, is waited for by all others.
    engine.connect().close()
    return engine


pools = Pools(make_engine, lambda engine: engine.dispose())


class Lane:
    def open(self, **request):
        self.shared = pools.open(**request)
        self.engine = self.shared.value
        self.held = None
        self.loop = None

    def close(self):
        if self.loop is not None:
            self.loop.run_until_complete(self.asyncpg.dispose())
            self.loop.close()
        pools.close(self.shared)

    def do(self, work):
        """Does the work on the transaction's connection, or in a transaction of its own."""
        if self.held is not None:
            return work(self.held)
        with self.engine.begin() as self.held:
            try:
                return work(self.held)
            finally:
                self.held = None

    def sql(self, text, values=None):
        names = {f"v{n}": value for n, value in enumerate(values or [], 1)}
        statement = sa.text(text.replace(":", "\\:").replace("$", ":v"))

        def work(connection):
            result = connection.execute(statement, names)
            return [dict(row) for row in result.mappings()] if result.returns_rows else []

        return self.do(work)

    def twice(self, n):
        statement = sa.select(sa.func.pg_backend_pid().label("pid"), (sa.literal(n) * 2).label("twice"))
        return self.do(lambda connection: [dict(row) for row in connection.execute(statement).mappings()])

    def begin(self):
        self.held = self.engine.connect()
        self.held.begin()

    def commit(self):
        self.held.commit()
        self._give_back()

    def rollback(self):
        self.held.rollback()
        self._give_back()

    def _give_back(self):
        self.held.close()
        self.held = None

    def cancel(self, text):
        return self.sql(text)

    def now(self):
        self.held.connection.cancel()

    def store(self, sample):
        values = {
            **sample,
            "big": int(sample["big"]),
            "num": Decimal(sample["num"]),
            "at": datetime.fromisoformat(sample["at"].replace("Z", "+00:00")),
        }
        with Session(self.engine) as session:
            session.add(Sample(**values))
            session.commit()
            row = session.get(Sample, sample["id"], populate_existing=True)
            return sample_row({name: getattr(row, name) for name in values})

    def pids(self, count):
        """Server processes of so many connections that are out at the same time, and how many of them overflow."""
        connections = [self.engine.connect() for _ in range(count)]
        try:
            pids = []
            for connection in connections:
                pids.append(connection.scalar(sa.text("SELECT pg_backend_pid()")))
                connection.commit()
            return [self.engine.pool.overflow(), pids]
        finally:
            for connection in connections:
                connection.close()

    def stream(self, rows, size):
        """Sums numbers up by a server-side cursor."""
        with self.engine.connect().execution_options(stream_results=True, max_row_buffer=size) as connection:
            result = connection.execute(sa.text("SELECT i FROM generate_series(1, :rows) AS i"), {"rows": rows})
            return sum(row.i for row in result.yield_per(size))

    def savepoint(self):
        """A part of a transaction that is taken back alone."""
        with Session(self.engine) as session, session.begin():
            session.add(Sample(id=1))
            session.flush()
            try:
                with session.begin_nested():
                    session.execute(sa.insert(Sample).values(id=1))
            except sa.exc.IntegrityError as error:
                state = error.orig.pgcode
            session.add_all([Sample(id=2, body="b"), Sample(id=3, body="c")])
        return state

    def on_asyncpg(self, target, n):
        """The dialect for asyncpg, which prepares all under names; its engine stays for the next time."""
        if self.loop is None:
            self.loop = asyncio.new_event_loop()
            self.asyncpg = create_async_engine(url("asyncpg", target), pool_size=1, max_overflow=0, pool_pre_ping=True)

        async def work():
            async with self.asyncpg.begin() as connection:
                pid, double = (await connection.execute(sa.select(sa.func.pg_backend_pid(), sa.literal(n) * 2))).one()
                names = await connection.scalar(sa.text("SELECT count(*) FROM pg_prepared_statements"))
                return {"pid": pid, "double": double, "named": names > 0}

        return self.loop.run_until_complete(work())

    def levels(self):
        """Isolation levels of connections that the pool lends out one after the other."""
        found = []
        for level in ["SERIALIZABLE", "AUTOCOMMIT", None]:
            options = {"isolation_level": level} if level else {}
            with self.engine.connect().execution_options(**options) as connection:
                found.append(connection.scalar(sa.text("SHOW transaction_isolation")))
        return found


def state_of(error):
    return getattr(getattr(error, "orig", error), "pgcode", None)


serve(Lane, state_of)
