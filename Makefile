# Everything CI checks is a step of .ci/run; the targets of the same names run
# one each.

FUZZTIME ?= 10s
SOAK ?= 20m

.DEFAULT_GOAL := help
.PHONY: help build modules format vet test race lint demo interop ci soak bench bench-tables microbench crash hostile fuzz growth \
	package systemd-test image-test

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build ./trackd, static
	CGO_ENABLED=0 go build -trimpath -o trackd ./cmd/trackd

modules: ## check go.mod and go.sum
format: ## check that gofmt has nothing to do
vet: ## go vet
test: ## run the tests
race: ## run the tests under the race detector
lint: ## run the linters of .ci/tools.mod
demo: ## run the demo
interop: ## run the official SDKs against trackd; needs node and npm
modules format vet test race lint demo interop:
	@.ci/run $@

ci: ## run every step of CI
	@.ci/run

soak: ## load, trouble, kills and a full disk for SOAK, then the account: make soak SOAK=1h
	TRACKD_SOAK=$(SOAK) go test -count=1 -v -timeout 0 -run '^TestSoak$$' ./cmd/trackd

# BENCH takes more flags: make bench BENCH='-dir /mnt/disk -runs 9'
bench: ## measure trackd beside bare floors, real processes over real sockets
	go run ./internal/bench $(BENCH)

bench-tables: ## measure what growth, crowds and both ways at once cost; about 15 minutes
	go run ./internal/bench -tables $(BENCH)

microbench: ## run every benchmark of the packages once
	go test -run '^$$' -bench . -benchmem ./...

crash hostile: SHELL = /bin/bash
crash hostile: .SHELLFLAGS = -o pipefail -c
crash: ## kill, fail and cut the power everywhere: 10,000 lives; about 10 minutes, power cuts as root
	TRACKD_CRASH=all go test -count=1 -timeout 60m -v -run 'Dies|Deaths|AKill|FailedFsync|ACut|RandomDamage|LastByte' ./queue/boltqueue | grep -v '^=== \|^ *--- PASS: .*/'

HOSTILE ?= 16

hostile: ## attack a running daemon, print what each attack costs; rubbish by the gigabyte; about 10 minutes
	TRACKD_HOSTILE=$(HOSTILE) go test -count=1 -v -timeout 60m -run '^(TestNoRequestTakesMemory|TestIdleConnections|TestRubbish|TestWhateverBounces)' ./cmd/trackd | grep -v '^=== '

fleet: ## the queue of a fleet on real PostgreSQL servers: contract, kills, takeovers, figures; about 10 minutes
	TRACKD_POSTGRES=all go test -count=1 -v -timeout 30m ./internal/pgtest ./queue/pgqueue | grep -Ev '^=== |^ +--- PASS'
	TRACKD_POSTGRES=all go test -run '^$$' -bench . -benchtime 3s ./queue/pgqueue

fuzz: ## fuzz every parser, FUZZTIME each: make fuzz FUZZTIME=1m
	@go list ./... | while read -r package; do \
		go test -list '^Fuzz' "$$package" | grep '^Fuzz' | while read -r target; do \
			echo "== $$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "$$package" </dev/null || exit 1; \
		done || exit 1; \
	done

GROWTH ?= 1000000,10000000

growth: ## fill and drain queues of GROWTH events, print what they cost
	TRACKD_GROWTH=$(GROWTH) go test -run '^TestGrowthIsFlat$$' -v -timeout 60m ./queue/boltqueue

package: ## build the Debian package into ./dist
	deploy/package/build dist

systemd-test: ## as root: boot a machine and live the package's life in it
	systemd/boot

image-test: ## as root: build the Dockerfile and run what is in it
	deploy/image-test
