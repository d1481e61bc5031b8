<?php
// PDO with statements that the server prepares; PDO deallocates them by SQL when they are gone.

require __DIR__ . '/lane.php';

const TWICE = 'SELECT pg_backend_pid() AS pid, ?::int * 2 AS twice';

$db = null;
$twice = null;

/** The rows of a statement, which is prepared for this once. */
function run(PDO $db, string $text, array $values = []): array
{
    $statement = $db->prepare(preg_replace('/\$\d+/', '?', $text));
    foreach ($values as $i => $value) {
        $statement->bindValue($i + 1, $value, is_int($value) ? PDO::PARAM_INT : PDO::PARAM_STR);
    }
    $statement->execute();
    return $statement->fetchAll(PDO::FETCH_ASSOC);
}

serve(
    [
        'open' => function (array $request) use (&$db, &$twice): void {
            ['host' => $host, 'port' => $port, 'database' => $database] = $request['target'];
            $db = new PDO(
                "pgsql:host=$host;port=$port;dbname=$database",
                $request['target']['user'],
                $request['target']['password'],
                [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_EMULATE_PREPARES => false],
            );
            $twice = $db->prepare(TWICE);
        },
        'close' => function () use (&$db, &$twice): void {
            $twice = null;
            $db = null;
        },
        'sql' => function (array $request) use (&$db): array {
            return run($db, $request['text'], $request['values']);
        },
        'twice' => function (array $request) use (&$twice): array {
            $twice->execute([$request['n']]);
            return $twice->fetchAll(PDO::FETCH_ASSOC);
        },
        'begin' => function () use (&$db): void {
            $db->beginTransaction();
        },
        'commit' => function () use (&$db): void {
            $db->commit();
        },
        'rollback' => function () use (&$db): void {
            $db->rollBack();
        },
        'store' => function (array $request) use (&$db): array {
            run($db, 'INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?)', sampleValues($request['sample']));
            return sampleRow(run($db, 'SELECT * FROM samples WHERE id = ?', [$request['sample']['id']])[0]);
        },
        // Statements that come and go, of which each name is given but once.
        'come_and_go' => function (array $request) use (&$db): array {
            $found = [];
            for ($n = 0; $n < $request['count']; $n++) {
                $found[] = run($db, 'SELECT $1::int + 1 AS n', [$n])[0]['n'];
            }
            return $found;
        },
        'copy' => function (array $request) use (&$db): array {
            $rows = array_map(
                fn (int $i): string => $i . "\t" . str_repeat('ä', $i % 50) . "\n",
                range(0, $request['rows'] - 1),
            );
            $copied = $db->pgsqlCopyFromArray('samples', $rows, "\t", '\\\\N', 'id, body');
            $out = $db->pgsqlCopyToArray('(SELECT id, body FROM samples ORDER BY id)');
            return [$copied, $out === $rows];
        },
        // A large object, which is written and read by function calls of the protocol.
        'large_object' => function (array $request) use (&$db): array {
            $bytes = str_repeat("\0\xff\xc3\xa4", $request['length'] / 4);
            $db->beginTransaction();
            $id = $db->pgsqlLOBCreate();
            $stream = $db->pgsqlLOBOpen($id, 'w');
            fwrite($stream, $bytes);
            fclose($stream);
            $db->commit();
            $db->beginTransaction();
            $stream = $db->pgsqlLOBOpen($id, 'r');
            $read = stream_get_contents($stream);
            fclose($stream);
            $unlinked = $db->pgsqlLOBUnlink($id);
            $db->commit();
            return [strlen($read), $read === $bytes, $unlinked];
        },
    ],
    fn (Throwable $error) => $error instanceof PDOException ? $error->getCode() : null,
);
