// Package interop proves that an app which already uses a Customer.io SDK
// gains durability by changing the address it sends to.
//
//	SDK ── TCP ──▶ trackd serve ── POST /v1/track ──▶ sandbox
//	(node)         (a process)                        (in the test)
//
// It holds tests only. Every event has a user of its own, so that what a
// client was told, what trackd says it holds and what arrived can be compared
// event by event.
//
// What needs nothing but Go runs with every go test: requests shaped as the
// Go, Python and PHP SDKs send them, and those snippets of README.md and
// docs/clients.md whose language is installed. The official Node SDKs, pinned by
// testdata/node/package-lock.json, need node, npm and, once, the npm registry;
// they run when TRACKD_INTEROP=1. Real outages take their real time and run
// only when asked for:
//
//	TRACKD_INTEROP=1 go test -v -parallel 4 ./internal/interop
//	TRACKD_INTEROP_OUTAGES=1m,10m go test -v -run Outages -parallel 16 -timeout 40m ./internal/interop
//
// Apps mostly wait, so more of them than cores may run at the same time.
//
// Reading order: daemon_test.go (trackd as a process), account_test.go (who has
// which event), shapes_test.go (hand-written clients), node_test.go (the SDKs
// as processes), sdk_test.go and restart_test.go (the scenarios),
// answers_test.go (what an SDK does with an answer), accept_test.go and
// key_test.go (what is let in), outage_test.go (the table), snippets_test.go
// (README.md and docs/clients.md), forget_test.go (clients that read no
// answer), every_call_test.go (every SDK's calls, from testdata/sdks.ndjson
// and from the SDKs themselves),
// testing_page_test.go (docs/testing.md).
package interop
