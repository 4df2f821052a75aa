#!/usr/bin/env bash
# fuzz.sh TIME MODULE...: runs every fuzz target of the modules for TIME each.
set -euo pipefail
time=$1; shift
log=$(mktemp); trap 'rm -f "$log"' EXIT

fuzz() { go test -run '^$' -fuzz "^$1\$" -fuzztime "$time" -fuzzminimizetime 2s . 2>&1 | tee "$log"; }

for module in "$@"; do
  while IFS=: read -r file name; do
    dir=$(dirname "$file")
    echo "== $dir $name"
    # The fuzzer sometimes takes its own end of time for a failure: that, without
    # a failing input, is tried once more.
    (cd "$dir" && { fuzz "$name" || { grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input' "$log" && fuzz "$name"; }; })
  done < <(grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' "$module" | sed -E 's/:[0-9]+:func /:/' | sort)
done
