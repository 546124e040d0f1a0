#!/usr/bin/env bash
# Builds the extension for other majors of PostgreSQL and runs the tests that need a server there, each in a chroot of
# the Debian suite that has this major.
#   tools/majors.sh [MAJOR ...]            15, 17, 18; without an argument 17 and 18
#   tools/majors.sh prepare [MAJOR ...]    only makes the chroots, so that a later run finds them
# Prints for each "majors-17: N passed, N failed", and in the end "majors: N passed, N failed[, N skipped]". A major
# whose chroot can't be made (no root, no network, …) is skipped, which is said, and never counts as passed. Everything
# that was printed is also in build/majors-17.log; until then see build/majors-17-tap.log.
#
# Nothing of the host is touched: what runs in a chroot does so in mount, process and IPC namespaces of its own, so
# that all mounts and processes end with it, however this script ends. Chroots are kept for the next run, and made anew
# when they are missing or broken:
#   LEDGER_MAJORS_DIR       where they are kept: /var/cache/ledger-majors; may be removed at any time
#   LEDGER_MAJORS_MIRROR    where they come from: the Debian mirror of the host's apt, else http://deb.debian.org/debian
# REGRESS_TESTS, TESTS (of make tap; TESTS_17 for 17 alone) and KEEP_RESULTS are passed on.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
home=${LEDGER_MAJORS_DIR:-/var/cache/ledger-majors}
mirror=${LEDGER_MAJORS_MIRROR:-}
only_prepare=
if [ "${1:-}" = prepare ]; then
    only_prepare=1
    shift
fi
majors=("$@")
[ ${#majors[@]} -gt 0 ] || majors=(17 18)
mkdir -p build

suite_of() {
    case $1 in
    15) echo bookworm ;;
    17) echo trixie ;;
    18) echo forky ;;
    *) return 1 ;;
    esac
}

# "MAJOR SUITE": an older server beside the one of this major, so that pg_upgrade is tried from it.
older_of() {
    case $1 in
    17) echo "15 bookworm" ;;
    *) return 1 ;;
    esac
}

host_mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(LABEL) $(REPO_URI)' 2>/dev/null |
        sed -n 's|^Debian \(https\{0,1\}://.*[^/]\)/*$|\1|p' | head -n 1
}

# Runs a command in a chroot, as root of a machine that has nothing but this chroot and the network.
inside() {
    local root=$1
    shift
    # Ends with this shell: unshare itself ignores SIGTERM.
    # shellcheck disable=SC2016
    setpriv --pdeathsig KILL unshare --mount --pid --ipc --fork --kill-child=KILL -- bash -euc '
        root=$1
        shift
        mkdir -p "$root/dev/shm" "$root/dev/pts"
        mount -t proc proc "$root/proc"
        mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
        exec chroot "$root" "$@"' _ "$root" \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ LANG=C.UTF-8 LC_ALL=C.UTF-8 \
        ${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} \
        ${REGRESS_TESTS:+"REGRESS_TESTS=$REGRESS_TESTS"} ${KEEP_RESULTS:+"KEEP_RESULTS=$KEEP_RESULTS"} \
        LEDGER_PG_MAJOR="$major" "$@" < /dev/null
}

copy_checkout() {
    rm -rf "$root/src"
    mkdir -p "$root/src/ledger" "$root/src/shared"
    tar -c --exclude=./.git --exclude=./build --exclude='*.o' --exclude='*.d' --exclude='*.so' --exclude='*.bc' . |
        tar -x -C "$root/src/ledger" --no-same-owner || return
    local data=${LEDGER_TEST_DATA:-$(cd .. && pwd)/shared/data}
    if [ -d "$data" ]; then cp -rL "$data" "$root/src/shared/data"; fi
}

packages_installed() {
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null
    inside "$root" /src/ledger/tools/deps.sh server &&
        inside "$root" pg_config --version | grep -q "^PostgreSQL $major\b"
}

# Of the older major's server headers only the files are wanted: as a package they bring a compiler along.
older_installed() {
    local old old_suite
    read -r old old_suite < <(older_of "$major") || return 0
    echo "deb $mirror $old_suite main" > "$root/etc/apt/sources.list.d/older.list"
    # shellcheck disable=SC2016
    inside "$root" bash -euc '
        old=$1
        test ! -e "/usr/lib/postgresql/$old/lib/pgxs" || exit 0
        apt-get update > /dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "postgresql-$old" > /dev/null
        cd /tmp
        apt-get download "postgresql-server-dev-$old" > /dev/null
        dpkg -x postgresql-server-dev-"$old"_*.deb /
        rm postgresql-server-dev-"$old"_*.deb' _ "$old"
}

# A chroot is lost with nothing in it, so dpkg need not wait for the disk; and the server's headers depend on a gigabyte
# of LLVM and clang, of which only the library is of use here.
slim_dpkg() {
    echo force-unsafe-io
    printf 'path-exclude=%s\n' '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*' '/usr/lib/llvm-*/include/*' \
        '/usr/lib/llvm-*/bin/*' '/usr/lib/llvm-*/lib/*.a' '/usr/lib/*/libclang*'
}

make_chroot() {
    rm -rf --one-file-system "$root"
    mkdir -p "$root" || return
    # A suite newer than the host's debootstrap is made as unstable is.
    local script=
    [ -e "/usr/share/debootstrap/scripts/$suite" ] || script=sid
    echo "making a chroot of Debian $suite in $root"
    debootstrap --variant=minbase --force-check-gpg --include=ca-certificates "$suite" "$root" "$mirror" $script \
        > "$root.log" 2>&1 || { tail -n 20 "$root.log"; return 1; }
    apt-config dump | grep -E '^Acquire::(http|https|Check-|Retries)' > "$root/etc/apt/apt.conf.d/00host"
    slim_dpkg > "$root/etc/dpkg/dpkg.cfg.d/ledger"
    printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d" # No package starts a service.
    chmod 755 "$root/usr/sbin/policy-rc.d"
    copy_checkout && packages_installed && older_installed && touch "$root/made"
}

skip() {
    echo "majors-$major: skipped: $1"
    echo "majors-$major: 0 passed, 0 failed, 1 skipped"
}

# Prints a line of a test's count, and adds it up.
count() {
    local line=$1 n
    n=${line#*: }
    passed=$((passed + ${n%% passed*}))
    n=${line#*, }
    failed=$((failed + ${n%% failed*}))
}

run_kind() {
    local kind=$1 line begun=$SECONDS
    shift
    inside "$root" "$@" > "build/majors-$major-$kind.log" 2>&1
    cat "build/majors-$major-$kind.log"
    line=$(grep -E "^$kind: [0-9]+ passed, [0-9]+ failed$" "build/majors-$major-$kind.log" | tail -n 1)
    echo "majors-$major: $kind took $((SECONDS - begun)) s"
    count "${line:-$kind: 0 passed, 1 failed}"
}

run_major() {
    local major=$1 suite root begun=$SECONDS passed=0 failed=0
    suite=$(suite_of "$major") || { skip "no Debian suite is known that has PostgreSQL $major"; return; }
    root=$home/$major
    exec 9> "$home/$major.lock"
    flock -n 9 || { echo "waiting for another run that uses $root"; flock 9; }
    if ! { [ -e "$root/made" ] && copy_checkout && packages_installed && older_installed; }; then
        make_chroot || { skip "no chroot of Debian $suite with PostgreSQL $major could be made"; return; }
    fi
    echo "majors-$major: $(inside "$root" pg_config --version), $(inside "$root" gcc --version | head -n 1)," \
        "chroot ready after $((SECONDS - begun)) s"
    [ -z "$only_prepare" ] || return
    local tests=TESTS_$major
    tests=${!tests:-${TESTS:-}}
    run_kind regress make -s -C /src/ledger regress
    local old
    old=$(older_of "$major") || old=
    run_kind tap env TAP_JOBS=1 ${old:+"LEDGER_OLD_PG_CONFIG=/usr/lib/postgresql/${old% *}/bin/pg_config"} \
        make -s -C /src/ledger tap ${tests:+"TESTS=$tests"}
    if [ -n "${KEEP_RESULTS:-}" ]; then cp -r "$root/src/ledger/build/results" "build/results-$major" 2>/dev/null; fi
    rm -rf "$root/src"
    echo "majors-$major: took $((SECONDS - begun)) s"
    echo "majors-$major: $passed passed, $failed failed"
}

obstacle() {
    if [ "$(id -u)" != 0 ]; then echo "a chroot needs root"; return; fi
    command -v debootstrap > /dev/null || { echo "debootstrap is not installed (tools/deps.sh test)"; return; }
    unshare --mount --pid --ipc --fork true 2>/dev/null || { echo "this machine allows no namespaces"; return; }
    mkdir -p "$home" || echo "$home can't be made"
}

why=$(obstacle)
[ -n "$mirror" ] || mirror=$(host_mirror)
mirror=${mirror:-http://deb.debian.org/debian}
for major in "${majors[@]}"; do
    if [ -n "$why" ]; then skip "$why"; else run_major "$major"; fi > "build/majors-$major.log" 2>&1 &
done
trap 'kill $(jobs -p) 2>/dev/null; exit 130' INT TERM HUP
wait
[ -z "$only_prepare" ] || exit 0

passed=0
failed=0
skipped=0
recap=
for major in "${majors[@]}"; do
    cat "build/majors-$major.log"
    line=$(grep -E "^majors-$major: [0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$" "build/majors-$major.log" | tail -n 1)
    before=$failed
    count "${line:-majors-$major: 0 passed, 1 failed}"
    [ "$failed" = "$before" ] || recap+=$(RECAP_LINES=$((20 / ${#majors[@]})) tools/recap.sh "majors-$major" "build/majors-$major.log")$'\n'
    case $line in *skipped) skipped=$((skipped + 1)) ;; esac
done
grep . <<< "$recap" || true
summary="majors: $passed passed, $failed failed"
[ "$skipped" = 0 ] || summary="$summary, $skipped skipped"
echo "$summary"
[ "$failed" = 0 ]
