<?php
// PHP's pgsql functions, with named statements.

require __DIR__ . '/lane.php';

const TWICE = 'SELECT pg_backend_pid() AS pid, $1::int * 2 AS twice';

$db = null;
$prepared = [];

/** An error with its SQLSTATE. */
class PgsqlError extends Exception
{
    public function __construct(public readonly string $state, string $message)
    {
        parent::__construct($message);
    }
}

/** Waits until nothing is under way any more; gives the result that came last. */
function lastResult(PgSql\Connection $db): PgSql\Result
{
    while ($next = pg_get_result($db)) {
        $result = $next;
    }
    return $result;
}

/** The rows of what libpq has brought, whole numbers as such. */
function rowsOf(PgSql\Result $result): array
{
    $state = pg_result_error_field($result, PGSQL_DIAG_SQLSTATE);
    if ($state) {
        throw new PgsqlError($state, pg_result_error($result));
    }
    $rows = pg_fetch_all($result);
    for ($i = 0; $i < pg_num_fields($result); $i++) {
        if (pg_field_type($result, $i) !== 'int4') {
            continue;
        }
        foreach ($rows as &$row) {
            $row[pg_field_name($result, $i)] = (int) $row[pg_field_name($result, $i)];
        }
        unset($row);
    }
    return $rows;
}

/** Runs a statement under a name, which is prepared when it is new. */
function run(PgSql\Connection $db, array &$prepared, string $text, array $values = []): array
{
    if ($values === []) {
        pg_send_query($db, $text);
        return rowsOf(lastResult($db));
    }
    if (!isset($prepared[$text])) {
        $name = 's' . count($prepared);
        pg_send_prepare($db, $name, $text);
        rowsOf(lastResult($db));
        $prepared[$text] = $name;
    }
    pg_send_execute($db, $prepared[$text], $values);
    return rowsOf(lastResult($db));
}

$do = function (string $text, array $values = []) use (&$db, &$prepared): array {
    return run($db, $prepared, $text, $values);
};

serve(
    [
        'open' => function (array $request) use (&$db, &$prepared): void {
            $prepared = [];
            ['host' => $host, 'port' => $port, 'database' => $database] = $request['target'];
            ['user' => $user, 'password' => $password] = $request['target'];
            $db = pg_connect(
                "host=$host port=$port dbname=$database user=$user password=$password",
                PGSQL_CONNECT_FORCE_NEW,
            );
        },
        'close' => function () use (&$db): void {
            pg_close($db);
        },
        'sql' => fn (array $request): array => $do($request['text'], $request['values']),
        'twice' => fn (array $request): array => $do(TWICE, [$request['n']]),
        'begin' => fn (): array => $do('BEGIN'),
        'commit' => fn (): array => $do('COMMIT'),
        'rollback' => fn (): array => $do('ROLLBACK'),
        'cancel' => function (array $request) use (&$db): never {
            pg_send_query($db, $request['text']);
            awaitNow();
            // It waits for the end and takes the result away, the error with it.
            throw new PgsqlError(pg_cancel_query($db) ? 'no result' : 'not cancelled', '');
        },
        'store' => function (array $request) use ($do): array {
            $do('INSERT INTO samples VALUES ($1, $2, $3, $4, $5, $6, $7, $8)', sampleValues($request['sample']));
            return sampleRow($do('SELECT * FROM samples WHERE id = $1', [$request['sample']['id']])[0]);
        },
        'copy' => function (array $request) use (&$db): array {
            $rows = array_map(
                fn (int $i): string => $i . "\t" . str_repeat('ä', $i % 50) . "\n",
                range(0, $request['rows'] - 1),
            );
            $copied = pg_copy_from($db, 'samples (id, body)', $rows);
            return [$copied, pg_copy_to($db, '(SELECT id, body FROM samples ORDER BY id)') === $rows];
        },
        // A large object, which is written and read by function calls of the protocol.
        'large_object' => function (array $request) use (&$db, $do): array {
            $bytes = str_repeat("\0\xff\xc3\xa4", $request['length'] / 4);
            $do('BEGIN');
            $id = pg_lo_create($db);
            $object = pg_lo_open($db, $id, 'w');
            pg_lo_write($object, $bytes);
            pg_lo_close($object);
            $do('COMMIT');
            $do('BEGIN');
            $object = pg_lo_open($db, $id, 'r');
            $read = pg_lo_read($object, $request['length'] + 1);
            pg_lo_close($object);
            $unlinked = pg_lo_unlink($db, $id);
            $do('COMMIT');
            return [strlen($read), $read === $bytes, $unlinked];
        },
        // Conveniences that ask the catalog for the table's columns, with parameters of their own.
        'convenient' => function () use (&$db): array {
            pg_insert($db, 'samples', ['id' => 7, 'body' => "it's ä"]);
            pg_update($db, 'samples', ['body' => 'b'], ['id' => 7]);
            $rows = pg_select($db, 'samples', ['id' => 7]);
            pg_delete($db, 'samples', ['id' => 7]);
            return [$rows[0]['id'], $rows[0]['body'], pg_select($db, 'samples', ['id' => 7])];
        },
    ],
    fn (Throwable $error) => $error instanceof PgsqlError ? $error->state : null,
);
