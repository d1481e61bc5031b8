# Serves one lane with DBD::Pg: see ../program.ts for requests and replies.

use strict;
use warnings;
use utf8;

use DBD::Pg qw(:async);
use DBI;
use JSON::XS;

my $json = JSON::XS->new->utf8->allow_nonref->canonical;
my $db;

my %ops = (
    open => sub {
        my $target = $_[0]{target};
        $db = DBI->connect(
            "dbi:Pg:host=$target->{host};port=$target->{port};dbname=$target->{database}",
            $target->{user},
            $target->{password},
            { AutoCommit => 1, RaiseError => 1, PrintError => 0, pg_server_prepare => 1, pg_switch_prepared => 1 },
        );
        return;
    },
    close => sub { $db->disconnect; return },
    sql   => sub { return rows($_[0]{text}, @{ $_[0]{values} }) },
    twice => sub { return rows('SELECT pg_backend_pid() AS pid, $1::int * 2 AS twice', $_[0]{n}) },
    begin    => sub { $db->begin_work; return },
    commit   => sub { $db->commit;     return },
    rollback => sub { $db->rollback;   return },
    cancel   => sub {
        my $statement = $db->prepare($_[0]{text}, { pg_async => PG_ASYNC });
        $statement->execute;
        readline STDIN;    # says that it is time
        $db->pg_cancel;
        # It keeps the error of the query, and raises none.
        die { state => $db->state };
    },
    store => sub {
        my $sample = $_[0]{sample};
        $db->prepare('INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?)')
          ->execute(@{$sample}{qw(id big num body at)}, JSON::XS->new->encode($sample->{doc}), $sample->{list},
            $sample->{nothing});
        my $row = $db->selectrow_hashref('SELECT * FROM samples WHERE id = ?', undef, $sample->{id});
        # 2024-02-29 23:59:59.123+00
        my $at = $row->{at} =~ s/ /T/r =~ s/\+00$/Z/r;
        return { %$row, big => "$row->{big}", at => $at, doc => JSON::XS->new->decode($row->{doc}) };
    },
    copy         => \&copy,
    broken_copy  => \&broken_copy,
    large_object => \&large_object,
    come_and_go  => \&come_and_go,
    savepoint    => \&savepoint,
);

# The rows of a statement, which the driver keeps prepared.
sub rows {
    my ($text, @values) = @_;
    my $statement = $db->prepare_cached($text);
    $statement->execute(@values);
    return $statement->{NUM_OF_FIELDS} ? $statement->fetchall_arrayref({}) : [];
}

# Statements that come and go, which the driver deallocates by SQL.
sub come_and_go {
    my @found;
    for my $n (1 .. $_[0]{count}) {
        my $statement = $db->prepare('SELECT ?::int + 1');
        $statement->execute($n);
        push @found, $statement->fetchrow_array;
    }
    return \@found;
}

# A part of a transaction that is taken back alone.
sub savepoint {
    $db->begin_work;
    rows('INSERT INTO samples (id) VALUES ($1)', 1);
    $db->pg_savepoint('part');
    eval { rows('INSERT INTO samples (id) VALUES ($1)', 1) };
    my $state = $db->state;
    $db->pg_rollback_to('part');
    rows('INSERT INTO samples (id) VALUES ($1)', 2);
    $db->commit;
    return $state;
}

sub copy {
    my @lines = map { "$_\t" . ('ä' x ($_ % 50)) . "\n" } 0 .. $_[0]{rows} - 1;
    $db->do('COPY samples (id, body) FROM STDIN');
    $db->pg_putcopydata($_) for @lines;
    $db->pg_putcopyend;
    $db->do('COPY (SELECT id, body FROM samples ORDER BY id) TO STDOUT');
    my ($out, $line) = ('', '');
    $out .= $line while $db->pg_getcopydata($line) >= 0;
    return $out eq join('', @lines) ? JSON::XS::true : JSON::XS::false;
}

# A COPY that the server ends.
sub broken_copy {
    $db->do('COPY samples (id) FROM STDIN');
    eval {
        $db->pg_putcopydata("no number\n");
        $db->pg_putcopyend;
    };
    return $db->state;
}

# A large object, which is written and read by function calls of the protocol.
sub large_object {
    my $length = $_[0]{length};
    my $bytes = "\0\xff\xc3\xa4" x ($length / 4);
    $db->begin_work;
    my $id = $db->pg_lo_creat($db->{pg_INV_WRITE});
    my $object = $db->pg_lo_open($id, $db->{pg_INV_WRITE});
    $db->pg_lo_write($object, $bytes, $length);
    $db->pg_lo_close($object);
    $db->commit;
    $db->begin_work;
    $object = $db->pg_lo_open($id, $db->{pg_INV_READ});
    my $read = '';
    my $count = $db->pg_lo_read($object, $read, $length);
    $db->pg_lo_close($object);
    $db->pg_lo_unlink($id);
    $db->commit;
    return [$count, $read eq $bytes ? JSON::XS::true : JSON::XS::false];
}

$| = 1;
while (my $line = readline STDIN) {
    my $request = $json->decode($line);
    my $value = eval { $ops{ $request->{op} }->($request) };
    my $reply = { value => $value };
    if ($@) {
        my $state = ref $@ ? $@->{state} : $db && $db->err ? $db->state : undef;
        $reply = { error => { state => $state, message => "$@" } };
    }
    print $json->encode({ lane => $request->{lane}, %$reply }), "\n";
}
