#!/bin/sh
# Makes the secrets that docker-compose.yml mounts, in deploy/docker/secrets (or in $1):
#   clickhouse_collector_password, clickhouse_analyzer_password   random
#   clickhouse_users.xml     ClickHouse's users with their rights, and only hashes of those passwords
#   console_password_hash    Argon2id hash of the console's password, which is read from standard input
# A secret that exists stays as it is; delete its file to make it anew. The directory is for its owner alone; the files
# are readable, because the services read them as users of their own.
#
# The console's password is hashed by the program in TAPWATCH_ANALYZER, or by bin/analyzer of `make build`, or by the
# image, which is built for it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
dir=${1:-$here/secrets}

umask 022
mkdir -p "$dir"
chmod 700 "$dir"

# put NAME writes standard input to a secret, all of it or nothing.
put() {
    cat >"$dir/$1.new"
    [ -s "$dir/$1.new" ] || { rm -f "$dir/$1.new"; echo "secrets.sh: $1: nothing to write" >&2; exit 1; }
    mv "$dir/$1.new" "$dir/$1"
    echo "made $dir/$1" >&2
}
sha256() { tr -d '\n' <"$dir/$1" | sha256sum | cut -d' ' -f1; }

made=
for user in collector analyzer; do
    name=clickhouse_${user}_password
    if [ ! -s "$dir/$name" ]; then
        head -c 24 /dev/urandom | base64 | put "$name"
        made=yes
    fi
done

if [ -n "$made" ] || [ ! -s "$dir/clickhouse_users.xml" ]; then
    put clickhouse_users.xml <<XML
<clickhouse>
    <users>
        <!-- Without a password, so only from within the container. -->
        <default>
            <networks replace="replace"><ip>127.0.0.1</ip><ip>::1</ip></networks>
        </default>
        <collector>
            <password_sha256_hex>$(sha256 clickhouse_collector_password)</password_sha256_hex>
            <networks><ip>::/0</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <grants>
                <query>GRANT ALL ON tapwatch.*</query>
                <query>GRANT TABLE ENGINE ON MergeTree</query>
                <query>GRANT TABLE ENGINE ON ReplacingMergeTree</query>
                <query>GRANT SELECT ON system.*</query>
            </grants>
        </collector>
        <analyzer>
            <password_sha256_hex>$(sha256 clickhouse_analyzer_password)</password_sha256_hex>
            <networks><ip>::/0</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <grants>
                <query>GRANT SELECT, INSERT ON tapwatch.*</query>
                <query>GRANT SELECT ON system.*</query>
            </grants>
        </analyzer>
    </users>
</clickhouse>
XML
fi

if [ ! -s "$dir/console_password_hash" ]; then
    analyzer=${TAPWATCH_ANALYZER:-}
    [ -n "$analyzer" ] || [ ! -x "$root/bin/analyzer" ] || analyzer=$root/bin/analyzer
    if [ -t 0 ]; then
        printf 'password for the console (user admin): ' >&2
        trap 'stty echo' EXIT
        stty -echo
        IFS= read -r password
        stty echo
        trap - EXIT
        echo >&2
    else
        IFS= read -r password || true
    fi
    [ -n "$password" ] || { echo "secrets.sh: the console needs a password, on standard input" >&2; exit 1; }
    if [ -n "$analyzer" ]; then
        hash=$(printf '%s\n' "$password" | "$analyzer" hash-password)
    else
        image=$(docker build -q -f "$here/Dockerfile" --target analyzer "$root")
        hash=$(printf '%s\n' "$password" | docker run --rm -i --network none --read-only "$image" hash-password)
    fi
    printf '%s\n' "$hash" | put console_password_hash
fi
