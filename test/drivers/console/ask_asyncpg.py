"""Asks the console with asyncpg, which describes every statement and takes every result in binary."""

import asyncio
import json
import sys

import asyncpg


async def main():
    host, port, user = sys.argv[1:4]
    pool = await asyncpg.create_pool(host=host, port=int(port), user=user, database="pgbouncer", min_size=1, max_size=1)
    async with pool.acquire() as connection:
        lists = [list(row.values()) for row in await connection.fetch("SHOW LISTS")]
        async with connection.transaction():
            state = [row["key"] for row in await connection.fetch("SHOW STATE")]
    # Released, and reset by statements of its own; then lent again.
    async with pool.acquire() as connection:
        version = await connection.fetchval("SHOW VERSION")
        status = await connection.execute("RELOAD")
    await pool.close()
    print(json.dumps({"lists": lists, "state": state, "version": version, "status": status}))


asyncio.run(main())
