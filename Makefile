# Tapwatch. `make` shows the commands; `make demo` and `make test` are the two to know.
# Needs Go and npm (npm brings the embedded ClickHouse); no root, no containers, no C compiler.

export CGO_ENABLED = 0
MODULES  := proto probe collector analyzer deploy
BIN      := $(CURDIR)/bin
NATIVE   := deploy/tapwatch/node_modules/.package-lock.json
GOTEST   := go test -timeout 15m
# Packages tested at once: one more than there are cores, as many tests wait for what they have stopped.
PACKAGES ?= $(shell expr $$(nproc 2>/dev/null || echo 2) + 1)
FUZZTIME ?= 60s
ROWS     ?= 2000000
SEED     ?=

help: ## show this
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

demo: ## the whole chain on recorded attacks, with its page; PCAP=file, IFACE=eth0
	@$(MAKE) -j2 --no-print-directory $(NATIVE) tapwatch
	$(BIN)/tapwatch up $(if $(PCAP),-r '$(PCAP)',$(if $(IFACE),-i '$(IFACE)',-r deploy/demo/captures -r deploy/demo/generated --state .state/demo --fresh))

test: $(NATIVE) ## all tests
	$(GOTEST) -p $(PACKAGES) $(MODULES:%=./%/...)

check: lint test ## lint and test

build: $(NATIVE) tapwatch ## the four binaries, into bin/
	cd probe && go build -trimpath -o $(BIN)/probe ./cmd/probe
	cd collector && go build -trimpath -o $(BIN)/collector ./cmd/collector
	cd analyzer && go build -trimpath -o $(BIN)/analyzer ./cmd/analyzer

# The all-in-one alone. A first build is what a newcomer waits for: without DWARF, without
# optimising the embedded broker and with less garbage collection it takes a quarter less.
tapwatch:
	@mkdir -p $(BIN)
	cd deploy && GOGC=400 go build -trimpath -gcflags=all=-dwarf=false -gcflags='github.com/twmb/...=-N -l -dwarf=false' -ldflags='-s -w' \
		-o $(BIN)/tapwatch ./tapwatch

lint: ## gofmt, vet of each module alone, staticcheck, import direction
	@files=$$(gofmt -l $(MODULES)); if [ -n "$$files" ]; then echo "gofmt -w is needed for:"; echo "$$files"; exit 1; fi
	@cd deploy && go build -o $(BIN)/staticcheck honnef.co/go/tools/cmd/staticcheck
	@for m in $(MODULES); do echo "== $$m"; (cd $$m && GOWORK=off go vet ./... && GOWORK=off $(BIN)/staticcheck ./...) || exit 1; done
	cd deploy && $(GOTEST) -count=1 ./layout

race: $(NATIVE) ## all tests under the race detector (needs a C compiler)
	@for m in $(MODULES); do (cd $$m && CGO_ENABLED=1 $(GOTEST) -race ./...) || exit 1; done

fuzz: ## every fuzz target, FUZZTIME each (60s)
	@deploy/fuzz.sh $(FUZZTIME) $(MODULES)

quality: ## applications, fingerprints, fields and states against what the references say of the captures
	@cd probe && $(GOTEST) -count=1 -v ./quality ./dpi ./meter -run 'Applications|ServerNames|Risks|Fields|Oracle|Peers|Zeek|CommunityID' >$(CURDIR)/.quality.log 2>&1; status=$$?; \
		sed -n 's/.*quality: //p' $(CURDIR)/.quality.log; if [ $$status != 0 ]; then grep -E -- '--- FAIL|not explained|promised|panic' $(CURDIR)/.quality.log; fi; \
		rm -f $(CURDIR)/.quality.log; exit $$status

bench: build ## packets per CPU second, bytes per flow, rows per second: prints a table
	cd deploy && go run ./bench

bench-probe: ## the probe next to other flow meters, and what its packets, flows and workers cost: prints tables
	cd probe && go build -trimpath -o $(BIN)/probe ./cmd/probe && go run ./bench $(if $(PCAP),-capture '$(abspath $(PCAP))')

bench-store: $(NATIVE) ## schema: octets a row, rows a second and twenty questions on generated flows, ROWS of them (2 million): prints tables
	cd probe && go build -trimpath -o $(BIN)/probe ./cmd/probe
	cd deploy && go run ./benchstore -rows $(ROWS)

cross: ## the probe for Windows and macOS, where it reads captures
	@for os in windows darwin; do (cd probe && GOOS=$$os go build -trimpath -o $(BIN)/probe-$$os ./cmd/probe) || exit 1; done

e2e: $(NATIVE) ## the chain on many captures, in full
	cd deploy && TAPWATCH_E2E=full $(GOTEST) -count=1 -timeout 40m -v ./e2e

e2e-chaos: $(NATIVE) ## 500 faults of all kinds from a seed (SEED=n repeats one), compared flow by flow; and every planted bug must be caught
	cd deploy && TAPWATCH_E2E=full TAPWATCH_SEED=$(SEED) $(GOTEST) -count=1 -timeout 90m -p 1 -v -run 'Chaos|Mutants' ./e2e/chaos ./e2e/mutants

e2e-lab: $(NATIVE) ## real attacks in network namespaces, from the mirrored packet to the incident; as root
	cd deploy && TAPWATCH_E2E=full $(GOTEST) -count=1 -timeout 40m -v ./e2e/lab

quality-detect: $(NATIVE) ## incidents held against labels and truth: recall, precision, delay, goals and misses
	cd deploy && go run ./quality/detect

gen: ## protobuf code (needs protoc)
	cd deploy && go build -o $(BIN)/protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
	cd proto && PATH=$(BIN):$$PATH protoc --go_out=flowpb --go_opt=paths=source_relative flow.proto

clean: ## remove what was built and the demo's state
	rm -rf $(BIN) .state

$(NATIVE): deploy/tapwatch/package-lock.json
	npm ci --prefix deploy/tapwatch --no-audit --no-fund
	@touch $@

.PHONY: help demo test check build tapwatch lint race fuzz bench bench-probe bench-store cross e2e e2e-chaos e2e-lab quality quality-detect gen clean
.DEFAULT_GOAL := help
