"""Asks the console with SQLAlchemy, which looks at version, schema and isolation level when it connects."""

import json
import sys

import sqlalchemy

engine = sqlalchemy.create_engine(sys.argv[1])
with engine.connect() as connection:
    lists = [list(row) for row in connection.execute(sqlalchemy.text("SHOW LISTS"))]
with engine.connect() as connection:
    version = connection.execute(sqlalchemy.text("SHOW VERSION")).scalar()
print(json.dumps({"lists": lists, "version": version}))
