#!/bin/sh
# Renews booking/.sqlx, the metadata that queries are checked against without a database.
#
# Starts a private Postgres in a temporary directory, applies the migrations, and compiles the crate against
# it; stops it whatever happens. Needs the Postgres server programs (PG_BIN, PATH or /usr/lib/postgresql/*/bin)
# and psql. Root cannot run Postgres, so as root the server runs as the user `postgres`.
set -eu
cd "$(dirname "$0")"

find_bin() {
    for dir in "${PG_BIN:-}" $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV) /opt/homebrew/opt/postgresql*/bin; do
        [ -n "$dir" ] && [ -x "$dir/initdb" ] && { echo "$dir"; return; }
    done
    dirname "$(command -v initdb)"
}
bin=$(find_bin)
dir=$(mktemp -d)
as() { "$@"; }
if [ "$(id -u)" = 0 ]; then
    chown postgres "$dir"
    as() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
fi
# Only a socket in the private directory: no port is taken.
as "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >/dev/null
as "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -o "-k $dir -c listen_addresses= -c fsync=off" start >/dev/null
trap 'as "$bin/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null; rm -rf "$dir"' EXIT INT TERM

for file in migrations/*.sql; do
    "$bin/psql" -q -v ON_ERROR_STOP=1 -h "$dir" -U postgres -d postgres -f "$file"
done
encoded=$(printf %s "$dir" | sed 's,/,%2F,g')
rm -rf .sqlx
mkdir .sqlx
# The macros write their metadata when they are expanded: touch the sources so that they are.
find src -name '*.rs' -exec touch {} +
SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$PWD/.sqlx" DATABASE_URL="postgres://postgres@$encoded/postgres" \
    cargo check -p booking --lib
echo "$(ls .sqlx | wc -l) queries in booking/.sqlx"
