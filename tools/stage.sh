#!/usr/bin/env bash
# Makes a private copy of the installed PostgreSQL with this extension in it, so that tests neither need root nor
# touch the system's installation or any existing cluster. Prints the folder of its binaries.
#   tools/stage.sh DIRECTORY
# STRICT='' accepts warnings of the compiler.
# The server finds its libraries and shared files relative to its own binary; only the binaries are real copies.
set -euo pipefail
stage=$1
pg_config=${PG_CONFIG:-pg_config}
bindir=$($pg_config --bindir)
pkglibdir=$($pg_config --pkglibdir)
sharedir=$($pg_config --sharedir)

mkdir -p "$stage$bindir" "$stage$pkglibdir" "$stage$sharedir/extension"
cp -f "$bindir"/* "$stage$bindir/"
for file in "$pkglibdir"/*; do
    ln -sfn "$file" "$stage$pkglibdir/"
done
for file in "$sharedir"/*; do
    [ "$(basename "$file")" = extension ] || ln -sfn "$file" "$stage$sharedir/"
done
for file in "$sharedir"/extension/*; do
    case $(basename "$file") in ledger*) ;; *) ln -sfn "$file" "$stage$sharedir/extension/" ;; esac
done
rm -f "$stage$pkglibdir/ledger.so"
make -s STRICT="${STRICT-1}" PG_CONFIG="$pg_config" -j2 all >&2
make -s PG_CONFIG="$pg_config" install DESTDIR="$stage" >&2
echo "$stage$bindir"
