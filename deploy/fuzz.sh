#!/usr/bin/env bash
# fuzz.sh TIME MODULE...: runs every fuzz target of the modules for TIME each.
set -euo pipefail
time=$1; shift
for module in "$@"; do
  while IFS=: read -r file name; do
    dir=$(dirname "$file")
    echo "== $dir $name"
    (cd "$dir" && go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 2s .)
  done < <(grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' "$module" | sed -E 's/:[0-9]+:func /:/' | sort)
done
