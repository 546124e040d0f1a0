# SPDX-License-Identifier: PostgreSQL
#
# Stands between the nodes of a cluster, so that a test can part them: a process of its own, that runs
#   proxy_run(FOLDER, names …)
# Node x reaches y through FOLDER/x-y.sock, which leads to FOLDER/y.sock. FOLDER/faults says what is wrong now, a line each:
#   stall x y     nothing that x sends gets to y, in whichever connection; it does later, when the line is gone
#   cut x y       connections between the two end, and none can be made
package ClusterProxy;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use IO::Select;
use IO::Socket::UNIX;
use Socket qw(SOCK_STREAM);

our @EXPORT = qw(proxy_run);

my $CHUNK_SIZE = 65536;
my $folder;
my (%listener, %connection);    # By file number. A connection has two entries, one for each of its sockets.
my $listeners = IO::Select->new;

sub listen_for {
    my (@names) = @_;
    for my $from (@names) {
        for my $to (grep { $_ ne $from } @names) {
            my $path = "$folder/$from-$to.sock";
            unlink $path;
            my $socket = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => $path, Listen => 16) or die "$path: $!";
            $listener{ fileno $socket } = {socket => $socket, from => $from, to => $to};
            $listeners->add($socket);
        }
    }
    return;
}

sub faults {
    my %faults;
    open my $file, '<', "$folder/faults" or return \%faults;
    while (my $line = <$file>) {
        chomp $line;
        my ($kind, $from, $to) = split ' ', $line;
        $faults{"$kind $from $to"} = 1;
        $faults{"$kind $to $from"} = 1 if $kind eq 'cut';
    }
    close $file or die $!;
    return \%faults;
}

sub end_connection {
    my ($number) = @_;
    my $one = delete $connection{$number} or return;
    delete $connection{ fileno $one->{other} };
    close $_ for $one->{socket}, $one->{other};
    return;
}

sub accept_one {
    my ($listening, $faults) = @_;
    my $near = $listening->{socket}->accept or return;
    my ($from, $to) = @$listening{qw(from to)};
    my $far = $faults->{"cut $from $to"} ? undef : IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => "$folder/$to.sock");
    return close $near unless $far;
    $_->blocking(0) for $near, $far;
    # What is read from `socket` goes to `other`, and was sent by `from`.
    $connection{ fileno $near } = {socket => $near, other => $far, from => $from, to => $to, bytes => ''};
    $connection{ fileno $far } = {socket => $far, other => $near, from => $to, to => $from, bytes => ''};
    return;
}

sub step {
    my $faults = faults();
    my ($read, $write) = (IO::Select->new($listeners->handles), IO::Select->new);
    for my $number (keys %connection) {
        my $one = $connection{$number} or next;
        if ($faults->{"cut $one->{from} $one->{to}"}) {
            end_connection($number);
            next;
        }
        next if $faults->{"stall $one->{from} $one->{to}"};
        if ($one->{bytes} eq '') { $read->add($one->{socket}) }
        else { $write->add($one->{other}) }
    }
    my ($readable, $writable) = IO::Select->select($read, $write, undef, 0.02);
    for my $socket (@{ $readable // [] }) {
        my $number = fileno $socket // next;
        if ($listener{$number}) {
            accept_one($listener{$number}, $faults);
            next;
        }
        my $one = $connection{$number} or next;
        my $size = sysread $socket, $one->{bytes}, $CHUNK_SIZE;
        end_connection($number) if defined $size ? $size == 0 : !$!{EAGAIN};
        $one->{bytes} //= '';
    }
    for my $socket (@{ $writable // [] }) {
        my $far = fileno($socket) // next;
        my $reader = $connection{$far} or next;
        my $one = $connection{ fileno $reader->{other} } or next;
        my $size = syswrite $socket, $one->{bytes};
        if (defined $size) { substr $one->{bytes}, 0, $size, '' }
        elsif (!$!{EAGAIN}) { end_connection($far) }
    }
    return;
}

sub proxy_run {
    my @names;
    ($folder, @names) = @_;
    local $SIG{PIPE} = 'IGNORE';
    listen_for(@names);
    step() while getppid() != 1;
    return;
}

1;
