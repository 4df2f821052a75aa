#!/bin/sh
# Makes the secrets that docker-compose.yml mounts, in deploy/docker/secrets (or in $1):
#   clickhouse_{migrator,writer,reader,analyzer}_password   random; reader's is for people and their tools
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
for user in migrator writer reader analyzer; do
    name=clickhouse_${user}_password
    if [ ! -s "$dir/$name" ]; then
        head -c 24 /dev/urandom | base64 | put "$name"
        made=yes
    fi
done

# user NAME GRANT... is one user of the XML, with a profile of the same name.
user() {
    name=$1
    shift
    cat <<XML
        <$name>
            <password_sha256_hex>$(sha256 "clickhouse_${name}_password")</password_sha256_hex>
            <networks><ip>::/0</ip></networks>
            <profile>$name</profile>
            <quota>default</quota>
            <grants>
$(printf '                <query>GRANT %s</query>\n' "$@")
            </grants>
        </$name>
XML
}

# The same users, for a server that is administered by SQL, are in ../cluster/users.sql; a test holds both equal.
if [ -n "$made" ] || [ ! -s "$dir/clickhouse_users.xml" ]; then
    put clickhouse_users.xml <<XML
<clickhouse>
    <profiles>
        <migrator><async_insert>0</async_insert></migrator>
        <writer><async_insert>0</async_insert></writer>
        <!-- People's questions. With readonly=1 none of these can be changed. -->
        <reader>
            <readonly>1</readonly>
            <max_execution_time>60</max_execution_time>
            <max_memory_usage>2000000000</max_memory_usage>
            <max_memory_usage_for_user>4000000000</max_memory_usage_for_user>
            <max_rows_to_read>2000000000</max_rows_to_read>
            <max_bytes_to_read>100000000000</max_bytes_to_read>
            <max_result_rows>1000000</max_result_rows>
            <max_result_bytes>500000000</max_result_bytes>
            <max_temporary_data_on_disk_size_for_user>10000000000</max_temporary_data_on_disk_size_for_user>
            <max_concurrent_queries_for_user>8</max_concurrent_queries_for_user>
            <max_threads>4</max_threads>
            <max_ast_elements>10000</max_ast_elements>
            <cancel_http_readonly_queries_on_client_close>1</cancel_http_readonly_queries_on_client_close>
            <distributed_product_mode>global</distributed_product_mode>
        </reader>
        <analyzer>
            <async_insert>0</async_insert>
            <max_memory_usage_for_user>4000000000</max_memory_usage_for_user>
            <max_concurrent_queries_for_user>64</max_concurrent_queries_for_user>
            <distributed_foreground_insert>1</distributed_foreground_insert>
            <distributed_product_mode>global</distributed_product_mode>
        </analyzer>
    </profiles>
    <users>
        <!-- Without a password, so only from within the container. -->
        <default>
            <networks replace="replace"><ip>127.0.0.1</ip><ip>::1</ip></networks>
        </default>
$(user migrator "ALL ON tapwatch.*" "TABLE ENGINE ON *" "SELECT ON system.tables" "SELECT ON system.parts" "SELECT ON system.mutations" "SELECT ON system.disks" "SELECT ON system.storage_policies")
$(user writer "SELECT, INSERT, ALTER UPDATE, ALTER DELETE, ALTER TTL ON tapwatch.*" "TRUNCATE ON tapwatch.enrich_addresses" "TRUNCATE ON tapwatch.enrich_hits" "SHOW TABLES ON system.*" "SELECT ON system.parts" "SELECT ON system.mutations" "SELECT ON system.processes" "SELECT ON system.disks" "SELECT ON system.storage_policies")
$(user reader "SELECT, dictGet ON tapwatch.*")
$(user analyzer "SELECT, dictGet ON tapwatch.*" "INSERT ON tapwatch.alerts" "INSERT ON tapwatch.job_runs" "INSERT ON tapwatch.deliveries" "INSERT ON tapwatch.alert_findings" "INSERT ON tapwatch.incident_events" "INSERT ON tapwatch.exclusions" "INSERT ON tapwatch.leases" "INSERT ON tapwatch.audit_log" "INSERT ON tapwatch.response_steps" "INSERT ON tapwatch.reports_written" "INSERT ON tapwatch.retro_sweeps" "INSERT ON tapwatch.retro_indicators" "INSERT ON tapwatch.retro_swept" "INSERT ON tapwatch.retro_days" "INSERT ON tapwatch.retro_parts" "INSERT ON tapwatch.retro_matches" "INSERT ON tapwatch.retro_hits")
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
