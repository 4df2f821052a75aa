#!/usr/bin/env bash
# fuzz.sh TIME MODULE...: runs every fuzz target of the modules for TIME each,
# one after the other, and goes on after a finding: the input that failed stays
# in the package's testdata/fuzz, to be committed with the repair. FUZZ chooses
# targets by "directory Name" (a regular expression).
set -euo pipefail
time=$1; shift
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cache=$(go env GOCACHE)/fuzz
targets=0 failed=()

# One binary a package: to link it again for each target takes longer than a short run.
binary() {
  (cd "$1" && go test -c -fuzz=. -o "$work/fuzz.test" .)
  package=$(cd "$1" && go list .)
}

fuzz() {
  (cd "$1" && "$work/fuzz.test" -test.run '^$' -test.fuzz "^$2\$" -test.fuzztime "$time" -test.fuzzminimizetime 2s \
    -test.fuzzcachedir "$cache/$package") 2>&1 | tee "$work/log"
}

# The fuzzer sometimes takes its own end of time for a failure.
ownend() { grep -q 'context deadline exceeded' "$work/log" && ! grep -q 'Failing input' "$work/log"; }

built=
while IFS=: read -r file name; do
  dir=$(dirname "$file")
  [[ "$dir $name" =~ ${FUZZ:-.} ]] || continue
  echo "== $dir $name"
  targets=$((targets + 1))
  if [ "$dir" != "$built" ]; then binary "$dir"; built=$dir; fi
  fuzz "$dir" "$name" || { ownend && fuzz "$dir" "$name"; } || failed+=("$dir $name")
done < <(grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' "$@" | sed -E 's/:[0-9]+:func /:/' | sort)

echo "$targets targets, ${#failed[@]} with findings"
[ ${#failed[@]} = 0 ] || { printf '%s\n' "${failed[@]}"; exit 1; }
