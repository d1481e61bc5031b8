<?php
// Serves one lane: see ../program.ts for requests and replies.

/** Does what is asked for, by the function of the op's name, until the input ends. */
function serve(array $ops, callable $stateOf): void
{
    while (($line = fgets(STDIN)) !== false) {
        $request = json_decode($line, true, 512, JSON_BIGINT_AS_STRING);
        if (isset($request['sample'])) {
            // Arrays would not tell {} from [].
            $request['sample']['doc'] = json_decode($line)->sample->doc;
        }
        try {
            $reply = ['value' => $ops[$request['op']]($request)];
        } catch (Throwable $error) {
            $reply = ['error' => ['state' => $stateOf($error), 'message' => (string) $error]];
        }
        $flags = JSON_UNESCAPED_UNICODE | JSON_PRESERVE_ZERO_FRACTION | JSON_THROW_ON_ERROR;
        fwrite(STDOUT, json_encode(['lane' => $request['lane'], ...$reply], $flags) . "\n");
    }
}

/** The next line, which says that what runs is to be cancelled. */
function awaitNow(): void
{
    fgets(STDIN);
}

/** A row of `samples` as the test compares it. */
function sampleRow(array $row): array
{
    return [
        ...$row,
        'at' => (new DateTimeImmutable($row['at']))->format('Y-m-d\TH:i:s.vP'),
        'big' => (string) $row['big'],
        'doc' => json_decode($row['doc']),
        'list' => array_map(intval(...), explode(',', trim($row['list'], '{}'))),
    ];
}

/** The values of a new row, in order. */
function sampleValues(array $sample): array
{
    return [
        $sample['id'],
        $sample['big'],
        $sample['num'],
        $sample['body'],
        $sample['at'],
        json_encode($sample['doc'], JSON_UNESCAPED_UNICODE),
        '{' . implode(',', $sample['list']) . '}',
        $sample['nothing'],
    ];
}

set_error_handler(function (int $level, string $message): never {
    throw new ErrorException($message, 0, $level);
});
