/*
 * What libpq's pipeline mode gets, one line per result on standard output.
 * Arguments: a connection string, a text that must come back, how many rounds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <libpq-fe.h>

static PGconn *conn;

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s", what, PQerrorMessage(conn));
	exit(1);
}

static void ask(const char *sql, const char *value)
{
	if (!PQsendQueryParams(conn, sql, value == NULL ? 0 : 1, NULL, &value, NULL, NULL, 0))
		fail(sql);
}

static void sync_here(void)
{
	if (!PQpipelineSync(conn))
		fail("PQpipelineSync");
}

static void show(PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	int rows = PQntuples(result);

	printf("%s %s %d rows %s", PQresStatus(PQresultStatus(result)), PQcmdStatus(result), rows,
		   sqlstate == NULL ? "" : sqlstate);
	if (rows > 0 && PQnfields(result) > 0)
		printf(" %s … %s", PQgetvalue(result, 0, 0), PQgetvalue(result, rows - 1, 0));
	printf("\n");
}

/* Takes results up to the `syncs`th end of a stretch, or `results` of them. */
static void take(int syncs, int results)
{
	int nulls = 0;

	while (syncs > 0 || results > 0)
	{
		PGresult *result = PQgetResult(conn);

		if (result == NULL)
		{
			/* One ends each request's results; two mean that nothing more is to come. */
			if (++nulls > 1)
				fail("results are missing");
			continue;
		}
		nulls = 0;
		show(result);
		results--;
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
			syncs--;
		if (PQstatus(conn) == CONNECTION_BAD)
			fail("connection lost");
		PQclear(result);
	}
}

int main(int argc, char **argv)
{
	const char *number = "41";

	if (argc != 4)
		return 2;
	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != CONNECTION_OK)
		fail("PQconnectdb");
	for (int round = atoi(argv[3]); round > 0; round--)
	{
		if (!PQenterPipelineMode(conn))
			fail("PQenterPipelineMode");
		for (int i = 0; i < 3; i++)
			ask("SELECT $1::text", argv[2]);
		sync_here();
		/* Prepared and used ahead of any answer; then what an error skips. */
		if (!PQsendPrepare(conn, "p", "SELECT $1::int + 1", 0, NULL) ||
			!PQsendQueryPrepared(conn, "p", 1, &number, NULL, NULL, 0))
			fail("PQsendPrepare");
		sync_here();
		ask("SELECT 1/0", NULL);
		if (!PQsendQueryPrepared(conn, "p", 1, &number, NULL, NULL, 0) || !PQsendDescribePrepared(conn, "p"))
			fail("PQsendQueryPrepared");
		ask("DEALLOCATE p", NULL);
		sync_here();
		if (!PQsendDescribePrepared(conn, "p") || !PQsendQueryPrepared(conn, "p", 1, &number, NULL, NULL, 0))
			fail("PQsendDescribePrepared");
		sync_here();
		/* A transaction over several stretches, with an error in it. */
		ask("BEGIN", NULL);
		sync_here();
		ask("SELECT $1::text || ' in a transaction'", argv[2]);
		ask("SELECT no_such_column", NULL);
		ask("SELECT 2", NULL);
		sync_here();
		ask("SELECT 3", NULL);
		sync_here();
		ask("ROLLBACK", NULL);
		ask("SELECT repeat($1::text, 1000) FROM generate_series(1, 500)", argv[2]);
		sync_here();
		sync_here();
		take(9, 0);
		/* Answers without a Sync. */
		ask("SELECT $1::text", argv[2]);
		if (!PQsendFlushRequest(conn) || PQflush(conn) != 0)
			fail("PQsendFlushRequest");
		take(0, 1);
		ask("DEALLOCATE p", NULL);
		sync_here();
		take(1, 0);
		/* The end of the last one's results. */
		while (PQgetResult(conn) != NULL)
			;
		if (!PQexitPipelineMode(conn))
			fail("PQexitPipelineMode");
		if (!PQsendQuery(conn, "SELECT 1; SELECT 2"))
			fail("PQsendQuery");
		for (PGresult *result = PQgetResult(conn); result != NULL; result = PQgetResult(conn))
			show(result);
	}
	PQfinish(conn);
	return 0;
}
