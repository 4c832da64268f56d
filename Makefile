# What a contributor runs. Only the Go toolchain is needed, and a C compiler for the race detector.

# A checkout whose owner is another user, or a source archive, has no readable version: that must not stop a build.
export GOFLAGS := $(GOFLAGS) -buildvcs=false
GO       ?= go
TOOL      = $(GO) tool -modfile=tools/go.mod
TIMEOUT  ?= 10m
FUZZTIME ?= 30s
SEEDS    ?= 10000
FROM     ?= 0
# How long a soak takes: make soak DURATION=1h
DURATION ?= 30s
# Packages to test: make test PKG=./wire
PKG      ?= ./...

.DEFAULT_GOAL := help

.PHONY: test
test: need-cc ## run all tests with the race detector
	@# go test does not tell of skipped tests, so they leave a note.
	@notes="$$(mktemp)" || exit 1; trap 'rm -f "$$notes"' EXIT; status=0; \
	SKIPPED_TESTS="$$notes" $(GO) test -race -timeout $(TIMEOUT) $(PKG) || status=$$?; \
	if [ -s "$$notes" ]; then echo; echo "NOT TESTED:"; sort -u "$$notes"; fi; \
	exit $$status

.PHONY: need-cc
need-cc:
	@set -- $$($(GO) env CC); command -v "$$1" >/dev/null || { \
		echo "The race detector needs a C compiler, and $$1 is not installed: install it, or run plain 'go test ./...'." >&2; exit 1; }

.PHONY: lint
lint: ## go vet, staticcheck, gofumpt
	$(GO) vet ./...
	cd bench && $(GO) vet ./...
	$(TOOL) staticcheck ./...
	cd bench && $(GO) tool -modfile=../tools/go.mod staticcheck ./...
	@files="$$($(TOOL) gofumpt -l .)" || exit 1; \
	if [ -n "$$files" ]; then echo "gofumpt would change these files ('make fmt' does it):"; echo "$$files"; exit 1; fi

.PHONY: fmt
fmt: ## format all Go files
	$(TOOL) gofumpt -w .

.PHONY: bench
bench: ## run all benchmarks
	$(GO) test -run '^$$' -bench . -benchmem $(PKG)

.PHONY: compare
compare: ## compare with the design that is usually written by hand, on a PostgreSQL
	cd bench && $(GO) run .

.PHONY: soak
soak: ## write and expire keys in a PostgreSQL for DURATION (30s)
	ATMOST_SOAK=$(DURATION) $(GO) test -run '^$$' -bench '^BenchmarkSoak$$' -benchtime 1x -timeout 0 ./store/pgstore

.PHONY: sim
sim: ## simulate SEEDS (10000) worlds, beginning with seed FROM (0), and write down what came of them
	$(GO) test -count 1 -timeout 0 ./internal/simtest -run 'TestSimulation$$' -v -seeds $(SEEDS) -from $(FROM) -figures "$(CURDIR)/docs/proof/sim.json"

.PHONY: model
model: ## check the formal model of the protocol in all configurations
	@notes="$$(mktemp)" || exit 1; out="$$(mktemp)" || exit 1; trap 'rm -f "$$notes" "$$out"' EXIT; mkdir -p docs/proof; status=0; \
	SKIPPED_TESTS="$$notes" ATMOST_MODEL="$(CURDIR)/docs/proof/model.json" $(GO) test -count 1 -v -timeout 0 ./internal/model >"$$out" 2>&1 || status=$$?; \
	if [ -s "$$notes" ]; then cat "$$notes"; exit 1; fi; \
	if [ $$status -ne 0 ]; then cat "$$out"; exit $$status; fi; \
	grep '^    model_test.go:[0-9]*: [a-z]*:.* states' "$$out"; grep '^model: ' "$$out"

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (30s)
	@set -e; for pkg in $$($(GO) list $(PKG)); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "== $$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

.PHONY: clean
clean: ## remove what builds and tests leave behind
	rm -rf bin dist atmost
	$(GO) clean -testcache

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
